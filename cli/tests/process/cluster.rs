//! A log on three servers: one may die without anybody noticing, and with two of them away the pods answer on.

use std::time::Duration;

use testkit::{
    market::WalkMarket,
    nats::{NatsCluster, replicas},
    require_nats,
    upstream::FakeUpstream,
    wait_until,
};

use crate::{
    agreement::{averages_are_right, history_is_the_log, pods_agree, same_records},
    audit::{audit, nothing_lost},
    harness::{DEADLINE, Pod, Scene, has_price, slots_pass},
    records,
    survival::end,
};

/// An election among the servers takes some of them.
const INTERVAL: Duration = Duration::from_secs(1);

/// Records that pass between two acts.
const SOME: u64 = 4;

/// Waits until a pod says so of the log.
async fn says_of_log(pod: &Pod, wanted: &str) {
    let found = async || {
        let ready = pod.get("/readyz?verbose").await;
        assert_eq!(ready.status, 200, "a pod stays in service: {}", ready.text());
        let ready = ready.json();
        let mut checks = ready["checks"].as_array().unwrap().iter();
        let log = checks.find(|check| check["name"] == "log").unwrap();
        (log["condition"] == wanted).then_some(())
    };
    wait_until(&format!("the log is {wanted}"), DEADLINE, found).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_three_servers_outlives_them_one_by_one() {
    require_nats!();
    let mut cluster = NatsCluster::start().await.unwrap();
    let market = std::sync::Arc::new(WalkMarket::new(7, INTERVAL).unwrap());
    let upstream = FakeUpstream::start(market, "127.0.0.1:0").await.unwrap();
    let scene = Scene::new(INTERVAL)
        .asking(&upstream)
        .with_short_lease()
        .with("TICKWELL__BUS__URL", &cluster.url())
        .with("TICKWELL__BUS__REPLICAS", "3");
    let mut poller = scene.poller().await;
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    has_price(pods[0]).await;

    // The stream's leader dies: another follows, and what it had missed is there when it is back.
    let leading = async || cluster.leader_of("TICKS").await;
    let leader = wait_until("a leader of the stream", DEADLINE, leading).await;
    cluster.nodes[leader].kill();
    pods[0].takes_in(SOME).await;
    pods[1].takes_in(SOME).await;
    cluster.nodes[leader].restart().await.unwrap();

    // A server that is not the leader falls silent: nobody needs it.
    let leading = async || cluster.leader_of("TICKS").await;
    let leader = wait_until("a leader of the stream", DEADLINE, leading).await;
    let follower = (leader + 1) % 3;
    cluster.nodes[follower].pause().unwrap();
    pods[0].takes_in(SOME).await;
    cluster.nodes[follower].resume().unwrap();

    // Two are away: nothing can be stored, and pods answer from what they have, and say so.
    let before = records::all(pods[0]).await;
    let away = [leader, follower];
    for node in away {
        cluster.nodes[node].kill();
    }
    for pod in pods {
        says_of_log(pod, "degraded").await;
        assert_eq!(pod.get("/v1/prices/BTC-USD").await.status, 200);
    }
    // The one that is left has no leader, and says what it has; that is not the log.
    slots_pass(10, INTERVAL).await;
    for pod in pods {
        // Maybe not as of the same sequence: the last record may have reached only one of them.
        says_of_log(pod, "degraded").await;
        assert_eq!(pod.get("/v1/prices/BTC-USD").await.status, 200);
    }
    for node in away {
        cluster.nodes[node].restart().await.unwrap();
    }
    for pod in pods {
        says_of_log(pod, "ready").await;
        pod.takes_in(SOME).await;
    }

    end(&mut poller).await;
    let records = same_records(pods).await;
    nothing_lost(&before, &records);
    audit(&records);
    pods_agree(pods).await;
    averages_are_right(pods[1]).await;
    history_is_the_log(pods[1], &records).await;
    // What the cluster holds, and not only the pods: each server has every record in its own files, comes through a
    // clean restart with them, and a new pod reads them from the start.
    let inspection = replicas::inspect(&mut cluster.nodes, "TICKS").await.unwrap();
    assert_eq!((inspection.restarts, inspection.records), (3, records.len()));
    let newcomer = scene.pod("newcomer").await;
    newcomer.reaches(records.last().unwrap().sequence).await;
    same_records([pods[0], &newcomer]).await;
}

/// The last position of the log, as its leader has it.
async fn last_position(cluster: &NatsCluster) -> Option<u64> {
    let servers: Vec<String> = cluster.url().split(',').map(str::to_owned).collect();
    let context = async_nats::jetstream::new(async_nats::connect(servers).await.ok()?);
    let info = context.get_stream("TICKS").await.ok()?.cached_info().clone();
    info.cluster?.leader.map(|_leader| info.state.last_sequence)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_a_majority_lost_are_not_given_up_while_a_server_still_has_them() {
    require_nats!();
    let mut cluster = NatsCluster::start().await.unwrap();
    let market = std::sync::Arc::new(WalkMarket::new(11, INTERVAL).unwrap());
    let upstream = FakeUpstream::start(market, "127.0.0.1:0").await.unwrap();
    let scene = Scene::new(INTERVAL)
        .asking(&upstream)
        .with_short_lease()
        .with("TICKWELL__BUS__URL", &cluster.url())
        .with("TICKWELL__BUS__REPLICAS", "3");
    let mut poller = scene.poller().await;
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    has_price(pods[0]).await;
    pods[0].takes_in(SOME).await;

    // The volumes of two servers are copied, one after the other, and later put back.
    let mut copies = Vec::new();
    for node in 0..2 {
        copies.push(cluster.nodes[node].save().unwrap());
        cluster.nodes[node].restart().await.unwrap();
        pods[0].takes_in(SOME).await;
    }
    let seen = pods[0].takes_in(4 * SOME).await;
    let shown = records::all(pods[0]).await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for (node, copy) in copies.iter().enumerate() {
        cluster.nodes[node].restore(copy).unwrap();
        cluster.nodes[node].restart().await.unwrap();
    }

    // The two are a majority, and know nothing of the newest records. The third may still have them.
    let in_doubt = |line: &str| line.contains("contradict");
    poller.wait_for_line(in_doubt, DEADLINE).await.unwrap();
    let position =
        wait_until("the two have a leader", DEADLINE, async || last_position(&cluster).await).await;
    assert!(position < seen);
    cluster.nodes[2].restart().await.unwrap();
    for pod in pods {
        says_of_log(pod, "degraded").await;
        assert_eq!(pod.get("/v1/prices/BTC-USD").await.status, 200);
    }
    assert_eq!(last_position(&cluster).await, Some(position), "nothing is written on top of a doubt");

    // The operator decides for the leader's copy.
    let mut repair = scene.command("admin").args(["log", "repair", "--yes"]).start().unwrap();
    assert!(repair.wait_exit(DEADLINE).await.unwrap().success(), "{}", repair.lines().join("\n"));
    for pod in pods {
        // It builds its store again, and does not answer until that is done.
        let follows = async || {
            let answer = pod.get("/v1/pairs").await;
            (answer.status == 200 && answer.sequence() > seen + SOME).then_some(())
        };
        wait_until("the pod follows the log", DEADLINE, follows).await;
    }
    end(&mut poller).await;
    let records = same_records(pods).await;
    audit(&records);
    let lost = records.iter().filter(|record| record.cause.as_deref() == Some("log_lost"));
    assert!(lost.count() > 0, "the log says what became of the slots");
    // No slot that was shown is without a record now.
    for old in shown.iter().filter_map(|record| record.covers().map(|covers| (&record.pair, covers))) {
        let (pair, (from, slot)) = old;
        let covered =
            records.iter().filter(|record| record.pair == *pair).filter_map(|record| record.covers());
        assert!(covered.clone().any(|(first, last)| first <= from && from <= last), "{pair} {from}");
        assert!(covered.clone().any(|(first, last)| first <= slot && slot <= last), "{pair} {slot}");
    }
    pods_agree(pods).await;
    history_is_the_log(pods[1], &records).await;
}
