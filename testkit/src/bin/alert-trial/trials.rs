//! Which fault must cause which alerts.

use std::{
    collections::BTreeSet,
    io::{Write as _, stdout},
    time::Duration,
};

use testkit::{Venue, nats::NatsServer};
use tokio::time::{Instant, sleep};

use crate::stage::Stage;

/// How long to wait for an alert to fire.
const FIRES_WITHIN: Duration = Duration::from_secs(120);

/// How long to wait for an alert to clear. The longest window of the alerts is three minutes here.
const CLEARS_WITHIN: Duration = Duration::from_secs(300);

/// How often Prometheus is asked. It evaluates the alerts every second.
const PAUSE: Duration = Duration::from_millis(200);

/// How many streams are opened to use up file descriptors.
const STREAMS: usize = 100;

/// More than nine tenths of a small file system.
const FILLER_BYTES: usize = 45 * 1024 * 1024;

/// Cannot be injected here: they need a container's memory limit, and slow requests.
const NOT_INJECTED: [&str; 2] = ["TickwellMemory", "TickwellSlow"];

struct Trials {
    stage: Stage,
    only: String,
    all_well: bool,
}

impl Trials {
    /// Injects a fault, waits until all of these alerts fire, ends the fault, and waits until they have cleared.
    async fn run(
        &mut self,
        fault: &str,
        alerts: &[&str],
        inject: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<()>,
        heal: impl AsyncFnOnce(&mut Stage) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if !fault.contains(&self.only) {
            return Ok(());
        }
        let begun = Instant::now();
        inject(&mut self.stage).await?;
        let (fired, others) = self.times(begun, alerts, FIRES_WITHIN, true).await?;
        let healed = Instant::now();
        heal(&mut self.stage).await?;
        let (cleared, _) = self.times(healed, alerts, CLEARS_WITHIN, false).await?;
        for ((alert, fired), cleared) in alerts.iter().zip(fired).zip(cleared) {
            self.all_well &= fired.is_some() && cleared.is_some();
            let show = |time: Option<Duration>| {
                time.map_or_else(|| "never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
            };
            writeln!(stdout(), "| {fault} | {alert} | {} | {} |", show(fired), show(cleared))?;
        }
        if !others.is_empty() {
            let others = others.into_iter().collect::<Vec<_>>().join(", ");
            writeln!(stdout(), "| {fault} | also: {others} | | |")?;
        }
        self.stage.is_well().await
    }

    /// When each of these alerts began, or ceased, to fire; and which other alerts fired meanwhile.
    async fn times(
        &self,
        begun: Instant,
        alerts: &[&str],
        within: Duration,
        firing: bool,
    ) -> anyhow::Result<(Vec<Option<Duration>>, BTreeSet<String>)> {
        let (mut times, mut others) = (vec![None; alerts.len()], BTreeSet::new());
        while times.iter().any(Option::is_none) && begun.elapsed() < within {
            let now = self.stage.prometheus.firing().await?;
            for (alert, time) in alerts.iter().zip(&mut times) {
                if now.contains(*alert) == firing {
                    time.get_or_insert(begun.elapsed());
                }
            }
            others.extend(now.into_iter().filter(|name| !alerts.contains(&name.as_str())));
            sleep(PAUSE).await;
        }
        Ok((times, others))
    }
}

/// Runs all trials. Returns whether every alert fired and cleared.
pub(crate) async fn run(stage: Stage, only: &str) -> anyhow::Result<bool> {
    let mut trials = Trials { stage, only: only.to_owned(), all_well: true };
    writeln!(stdout(), "| fault | alert | fires after | clears after |\n|---|---|---|---|")?;
    sources(&mut trials).await?;
    log(&mut trials).await?;
    processes(&mut trials).await?;
    writeln!(stdout(), "\nNot injected: {}", NOT_INJECTED.join(", "))?;
    Ok(trials.all_well)
}

async fn sources(trials: &mut Trials) -> anyhow::Result<()> {
    for (fault, alerts) in [
        ("500", ["TickwellSourceFailing", "TickwellFewSources"].as_slice()),
        ("stuck", &["TickwellSourceFrozen"]),
        ("times:2", &["TickwellSourceOutlying", "TickwellFewSources"]),
        ("418", &["TickwellSourceRefused"]),
    ] {
        let name = format!("one of three sources: {fault}");
        trials
            .run(&name, alerts, async |stage| stage.fault(Some(fault)), async |stage| stage.fault(None))
            .await?;
    }
    let down = |stage: &Stage, down| {
        Venue::USD_EXCHANGES.into_iter().for_each(|venue| stage.upstream.set_down(venue, down));
        Ok(())
    };
    let alerts = ["TickwellNoFreshPrice", "TickwellGaps", "TickwellFewSources", "TickwellSourceFailing"];
    trials
        .run(
            "all sources are down",
            &alerts,
            async |stage| down(stage, true),
            async |stage| down(stage, false),
        )
        .await
}

async fn log(trials: &mut Trials) -> anyhow::Result<()> {
    let alerts = [
        "TickwellLogTrouble",
        "TickwellNotPublishing",
        "TickwellNoLeader",
        "TickwellLogReplicasMissing",
        "TickwellNoFreshPrice",
    ];
    let kill = async |stage: &mut Stage| {
        stage.nats.kill();
        Ok(())
    };
    trials.run("NATS is down", &alerts, kill, async |stage| stage.nats.restart().await).await?;

    let cut = async |stage: &mut Stage| {
        stage.is_connected.send_replace(false);
        Ok(())
    };
    let mend = async |stage: &mut Stage| {
        stage.is_connected.send_replace(true);
        Ok(())
    };
    trials
        .run("a pod loses its connection to NATS", &["TickwellPodLagging", "TickwellLogTrouble"], cut, mend)
        .await?;

    let publish = async |stage: &mut Stage| {
        let client = async_nats::connect(stage.nats.url()).await?;
        client.publish("ticks.BTC-USD", "hello".into()).await?;
        Ok(client.flush().await?)
    };
    trials
        .run("a foreign message in the log", &["TickwellMessagesRejected"], publish, async |_| Ok(()))
        .await?;

    let flap = async |stage: &mut Stage| {
        for name in ["poller-1", "poller-2"].repeat(6) {
            stage.signal(name, "STOP")?;
            sleep(Duration::from_secs(4)).await;
            stage.signal(name, "CONT")?;
        }
        Ok(())
    };
    trials.run("pollers are paused in turn", &["TickwellLeadershipFlapping"], flap, async |_| Ok(())).await?;

    let delete = async |stage: &mut Stage| {
        let context = async_nats::jetstream::new(async_nats::connect(stage.nats.url()).await?);
        context.delete_stream("TICKS").await?;
        Ok(())
    };
    trials.run("the stream is deleted", &["TickwellStoreRebuilt"], delete, async |_| Ok(())).await?;

    let mut cluster = None;
    let one_of_three = async |stage: &mut Stage| {
        let cluster = cluster.insert(stage.add_cluster().await?);
        sleep(Duration::from_secs(10)).await;
        let led = cluster.leader_of("OTHER").await.unwrap_or(0);
        let followers = cluster.nodes.iter_mut().enumerate().filter(|(number, _)| *number != led);
        followers.take(1).for_each(|(_, node)| node.kill());
        Ok(())
    };
    let remove = async |stage: &mut Stage| stage.remove("poller-3");
    trials
        .run("one of three NATS servers is down", &["TickwellLogReplicasMissing"], one_of_three, remove)
        .await?;

    let mut strict = None;
    let wrong_key = async |stage: &mut Stage| {
        let keys = stage.keys()?;
        let public = std::fs::read_to_string(keys.join("keys.conf"))?;
        let server = strict.insert(NatsServer::start_shipped(&public).await?);
        let key = keys.join("poller.nk").display().to_string();
        stage.add("pod-3", server.url(), vec![("TICKWELL__BUS__CREDENTIALS_FILE", key)]).await
    };
    let remove = async |stage: &mut Stage| stage.remove("pod-3");
    trials
        .run("a pod has the key of a poller", &["TickwellKeyRefused", "TickwellNotReady"], wrong_key, remove)
        .await
}

async fn processes(trials: &mut Trials) -> anyhow::Result<()> {
    let full = async |stage: &mut Stage| stage.limit("pod-1", "--fsize=4096:unlimited");
    let freed = async |stage: &mut Stage| stage.limit("pod-1", "--fsize=unlimited:unlimited");
    trials.run("a pod cannot write to its store", &["TickwellStoreClosed"], full, freed).await?;

    if trials.stage.mount_disk("pod-4")? {
        let log = trials.stage.nats.url();
        trials.stage.add("pod-4", log, Vec::new()).await?;
        let filler = trials.stage.store("pod-4").join("filler");
        let fill = async |_: &mut Stage| Ok(std::fs::write(&filler, vec![0; FILLER_BYTES])?);
        let empty = async |_: &mut Stage| Ok(std::fs::remove_file(&filler)?);
        trials.run("the disk of a store is almost full", &["TickwellStoreFilling"], fill, empty).await?;
        trials.stage.remove("pod-4")?;
        trials.stage.unmount_disk("pod-4")?;
    } else {
        writeln!(
            stdout(),
            "| the disk of a store is almost full | skipped: only root can mount a small disk | | |"
        )?;
    }

    let few = async |stage: &mut Stage| {
        stage.open_streams("pod-1", STREAMS).await?;
        let open = stage.open_files("pod-1")?;
        stage.limit("pod-1", &format!("--nofile={}:", open + open / 8))
    };
    let many = async |stage: &mut Stage| {
        stage.streams.clear();
        stage.limit("pod-1", "--nofile=1024:")
    };
    trials.run("streams use up the file descriptors", &["TickwellDescriptors"], few, many).await?;

    let errors = async |stage: &mut Stage| {
        stage.is_connected.send_replace(false);
        stage.kill("pod-2")?;
        std::fs::remove_dir_all(stage.store("pod-2"))?;
        stage.launch("pod-2").await?;
        let (client, url) = (stage.client.clone(), stage.url("pod-2")?);
        tokio::spawn(async move {
            while let Ok(response) = client.get(format!("{url}/v1/prices")).send().await {
                if response.status() == 200 {
                    break;
                }
                sleep(PAUSE).await;
            }
        });
        Ok(())
    };
    let mend = async |stage: &mut Stage| {
        stage.is_connected.send_replace(true);
        Ok(())
    };
    let alerts = ["TickwellErrorRatio", "TickwellNotReady"];
    trials.run("clients ask a pod that waits for its log", &alerts, errors, mend).await?;

    let kill = async |stage: &mut Stage| stage.kill("pod-1");
    trials.run("a pod is killed", &["TickwellDown"], kill, async |stage| stage.launch("pod-1").await).await?;

    let restart = async |stage: &mut Stage| {
        for _time in 0..3 {
            stage.launch("pod-1").await?;
            sleep(Duration::from_secs(4)).await;
        }
        Ok(())
    };
    trials.run("a pod is restarted three times", &["TickwellRestarting"], restart, async |_| Ok(())).await?;

    let all = ["poller-1", "poller-2", "pod-1", "pod-2"];
    let stop = async |stage: &mut Stage| all.into_iter().try_for_each(|name| stage.signal(name, "STOP"));
    let go_on = async |stage: &mut Stage| all.into_iter().try_for_each(|name| stage.signal(name, "CONT"));
    let alerts = ["TickwellPricesNotMeasured", "TickwellNoLeader", "TickwellDown"];
    trials.run("all processes are paused", &alerts, stop, go_on).await
}
