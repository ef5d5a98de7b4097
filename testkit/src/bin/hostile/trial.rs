//! Runs each kind of hostile clients once, with polite clients beside them.

use std::{net::SocketAddr, time::Duration};

use testkit::{
    hostile::{
        clients::{get, upgrade},
        innocent::{Innocents, Report},
    },
    usage::Usage,
};
use tokio::time::{Instant, sleep};

use crate::{
    attacks::{Attack, Crowd, STREAMS},
    stage::{PAIR, Stage},
};

/// The pause between two measurements of memory.
const SAMPLE: Duration = Duration::from_millis(250);

/// How long after an attack the memory is measured that the process still uses.
const SETTLE: Duration = Duration::from_secs(10);

/// What was measured during an attack.
pub(crate) struct Seen {
    pub(crate) report: Report,
    pub(crate) peak: Usage,
    /// The usage at the end, while the clients were still connected.
    pub(crate) last: Usage,
    /// The share of a CPU that the process used, in percent.
    pub(crate) cpu: u128,
}

/// Returns whether the process survived and every polite client was served.
pub(crate) async fn run(stage: &mut Stage, time: Duration, only: &str) -> anyhow::Result<bool> {
    let mut is_well = true;
    for attack in Attack::ALL.into_iter().filter(|attack| attack.name().contains(only)) {
        // Each kind begins with a new process, so that its memory is not what the kind before it has left.
        let server = stage.start().await?;
        sleep(SETTLE).await;
        let alone = watch(stage, server, time).await?;
        let crowd = attack.begin(server).await;
        let seen = watch(stage, server, time).await?;
        drop(crowd);
        sleep(SETTLE).await;
        let after = stage.usage()?;
        println!("{}", attack.name());
        println!(
            "  memory: {} before, {} at most, {} after",
            mebibytes(alone.last),
            mebibytes(seen.peak),
            mebibytes(after)
        );
        println!(
            "  descriptors: {}, {}, {}",
            alone.last.descriptors, seen.peak.descriptors, after.descriptors
        );
        println!("  CPU: {} % before, {} % during", alone.cpu, seen.cpu);
        println!("  innocent clients alone:  {}", line(&alone.report));
        println!("  innocent clients beside: {}", line(&seen.report));
        is_well &= seen.report.failures.is_empty();
        if matches!(attack, Attack::StalledEvents | Attack::StalledSockets) {
            let idle = idle(stage, attack, time).await?;
            let cost = |with: Usage, without: Usage| {
                with.memory.saturating_sub(without.memory) / u64::from(STREAMS) / 1_000
            };
            println!(
                "  a stalled client: {} kB; an idle one: {} kB",
                cost(seen.last, alone.last),
                cost(idle.1, idle.0)
            );
        }
        stage.end(true).await?;
    }
    let kills = stage.kills()?;
    println!("killed for memory: {kills}; at most {} MiB with pages of files", stage.peak()?);
    Ok(is_well && kills == 0)
}

/// The usage without streams, and with as many that read everything from now on.
async fn idle(stage: &mut Stage, attack: Attack, time: Duration) -> anyhow::Result<(Usage, Usage)> {
    stage.end(true).await?;
    let server = stage.start().await?;
    sleep(SETTLE).await;
    let alone = watch(stage, server, time).await?;
    let mut crowd = Crowd::default();
    let request = if attack == Attack::StalledSockets { upgrade("/v1/ws") } else { get("/v1/stream") };
    for number in 0..STREAMS {
        crowd.read(server, number, &request).await?;
    }
    let with = watch(stage, server, time).await?;
    Ok((alone.last, with.last))
}

/// Measures the process and polite clients for some time.
pub(crate) async fn watch(stage: &Stage, server: SocketAddr, time: Duration) -> anyhow::Result<Seen> {
    let innocents = Innocents::start(server, PAIR);
    let begun = Instant::now();
    let (mut last, used) = (stage.usage()?, stage.cpu_time()?);
    let mut peak = last;
    while begun.elapsed() < time {
        sleep(SAMPLE).await;
        last = stage.usage()?;
        peak = peak.highest(last);
    }
    let cpu = (stage.cpu_time()? - used).as_millis() * 100 / begun.elapsed().as_millis().max(1);
    Ok(Seen { report: innocents.finish()?, peak, last, cpu })
}

pub(crate) fn mebibytes(usage: Usage) -> String {
    format!("{} MiB", usage.memory / 1_024 / 1_024)
}

/// What polite clients saw, as a line.
pub(crate) fn line(report: &Report) -> String {
    let first = report.failures.first().map_or_else(String::new, |first| format!(", such as: {first}"));
    format!(
        "p50 {:?}, p99 {:?} of {}, oldest price {:?}, {} failures{first}",
        report.permille(500),
        report.permille(990),
        report.latencies.len(),
        report.oldest,
        report.failures.len(),
    )
}
