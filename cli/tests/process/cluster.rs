//! Tests of a log on three servers. With one server down, the feed continues. With two down, pods serve what they have.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
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
    harness::{DEADLINE, Pod, Scene, has_event, has_price, slots_pass},
    records::{self, Record},
    survival::end,
};

/// The interval between slots. An election among the servers takes several slots.
const INTERVAL: Duration = Duration::from_secs(1);

/// The minimum number of records between two steps of a test.
const SOME: u64 = 4;

/// Waits until a pod reports this condition of the log. The pod must stay ready meanwhile.
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

/// The newest sequence of the log according to the stream's leader; `None` if there is no leader or no server responds.
async fn last_position(cluster: &NatsCluster) -> Option<u64> {
    let servers: Vec<String> = cluster.url().split(',').map(str::to_owned).collect();
    let context = async_nats::jetstream::new(async_nats::connect(servers).await.ok()?);
    let info = context.get_stream("TICKS").await.ok()?.cached_info().clone();
    info.cluster?.leader.map(|_leader| info.state.last_sequence)
}

/// A feed with its log on three servers. The test can roll back the volumes of two servers.
struct Feed {
    cluster: NatsCluster,
    scene: Scene,
    upstream: FakeUpstream,
}

/// Copies of the volumes of two servers.
type Copies = [TempDir; 2];

impl Feed {
    async fn start(seed: u64) -> Self {
        let cluster = NatsCluster::start().await.unwrap();
        let market = Arc::new(WalkMarket::new(seed, INTERVAL).unwrap());
        let upstream = FakeUpstream::start(market, "127.0.0.1:0").await.unwrap();
        let scene = Scene::new(INTERVAL)
            .asking(&upstream)
            .with_short_lease()
            .with("TICKWELL__BUS__URL", &cluster.url())
            .with("TICKWELL__BUS__REPLICAS", "3");
        Self { cluster, scene, upstream }
    }

    /// Copies the volumes of two servers, one after the other, while the feed continues.
    async fn save(&mut self, pod: &Pod) -> Copies {
        let mut save = async |node: usize| {
            let copy = self.cluster.nodes[node].save().unwrap();
            self.cluster.nodes[node].restart().await.unwrap();
            pod.takes_in(SOME).await;
            copy
        };
        [save(0).await, save(1).await]
    }

    /// Kills all servers. Then starts two of them, which are a majority, with the older copies of their volumes.
    async fn roll_back(&mut self, copies: &Copies) {
        for node in &mut self.cluster.nodes {
            node.kill();
        }
        for (node, copy) in self.cluster.nodes.iter_mut().zip(copies) {
            node.restore(copy).unwrap();
            node.restart().await.unwrap();
        }
    }

    async fn last_position(&self) -> u64 {
        wait_until("the servers have a leader", DEADLINE, async || last_position(&self.cluster).await).await
    }

    /// Runs `log repair`, with which an operator decides to keep the leader's copy of the log. Waits until the pods
    /// have read the repaired log past the sequence `seen`.
    async fn repair(&self, pods: [&Pod; 2], seen: u64) {
        let mut repair = self.scene.command("admin").args(["log", "repair", "--yes"]).start().unwrap();
        assert!(repair.wait_exit(DEADLINE).await.unwrap().success(), "{}", repair.lines().join("\n"));
        for pod in pods {
            // The pod rebuilds its store, and responds with an error until that is done.
            let follows = async || {
                let answer = pod.get("/v1/pairs").await;
                (answer.status == 200 && answer.sequence() > seen + SOME).then_some(())
            };
            wait_until("the pod follows the log", DEADLINE, follows).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_three_servers_survives_the_loss_of_each_of_them() {
    require_nats!();
    let Feed { mut cluster, scene, upstream: _upstream } = Feed::start(7).await;
    let mut poller = scene.poller().await;
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    has_price(pods[0]).await;

    // The stream's leader is killed. Another server becomes the leader.
    let leading = async || cluster.leader_of("TICKS").await;
    let leader = wait_until("a leader of the stream", DEADLINE, leading).await;
    cluster.nodes[leader].kill();
    pods[0].takes_in(SOME).await;
    pods[1].takes_in(SOME).await;
    cluster.nodes[leader].restart().await.unwrap();

    // A server that is not the leader stops responding. The feed continues without it.
    let leading = async || cluster.leader_of("TICKS").await;
    let leader = wait_until("a leader of the stream", DEADLINE, leading).await;
    let follower = (leader + 1) % 3;
    cluster.nodes[follower].pause().unwrap();
    pods[0].takes_in(SOME).await;
    cluster.nodes[follower].resume().unwrap();

    // With two servers down, nothing can be stored. Pods still serve what they have, and report that the log is
    // degraded.
    let before = records::all(pods[0]).await;
    let away = [leader, follower];
    for node in away {
        cluster.nodes[node].kill();
    }
    for pod in pods {
        says_of_log(pod, "degraded").await;
        assert_eq!(pod.get("/v1/prices/BTC-USD").await.status, 200);
    }
    // There is no leader, but the remaining server still reports its own copy of the stream. Pods must not treat that
    // copy as the log.
    slots_pass(10, INTERVAL).await;
    for pod in pods {
        // The responses are not compared, because the last record may have reached only one of the pods.
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
    // Check the servers and not only the pods. Each server must have every record in its own files, also after a clean
    // restart, and a new pod must be able to read the log from the beginning.
    let inspection = replicas::inspect(&mut cluster.nodes, "TICKS").await.unwrap();
    assert_eq!((inspection.restarts, inspection.records), (3, records.len()));
    let newcomer = scene.pod("newcomer").await;
    newcomer.reaches(records.last().unwrap().sequence).await;
    same_records([pods[0], &newcomer]).await;
}

/// Checks that `records` have a tick or gap for every slot of the ticks and gaps in `shown`.
fn shown_slots_are_covered(shown: &[Record], records: &[Record]) {
    for old in shown {
        let Some((from, last)) = old.covers() else { continue };
        let of_pair = records.iter().filter(|record| record.pair == old.pair);
        let covered = of_pair.filter_map(Record::covers);
        for slot in (from..=last).step_by(usize::try_from(old.interval()).unwrap()) {
            let is_covered = covered.clone().any(|(first, last)| (first..=last).contains(&slot));
            assert!(is_covered, "{} {slot}", old.pair);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_a_majority_lost_are_not_given_up_while_a_server_still_has_them() {
    require_nats!();
    let mut feed = Feed::start(11).await;
    let mut poller = feed.scene.poller().await;
    let pods = [&feed.scene.pod("one").await, &feed.scene.pod("other").await];
    has_price(pods[0]).await;
    pods[0].takes_in(SOME).await;
    let copies = feed.save(pods[0]).await;
    let seen = pods[0].takes_in(4 * SOME).await;
    let shown = records::all(pods[0]).await;

    // Two servers, which are a majority, lose the newest records. The third server is down, but still has them.
    feed.roll_back(&copies).await;
    poller.wait_for_line(|line| has_event(line, "pair_in_doubt"), DEADLINE).await.unwrap();
    let position = feed.last_position().await;
    assert!(position < seen);
    feed.cluster.nodes[2].restart().await.unwrap();
    for pod in pods {
        says_of_log(pod, "degraded").await;
        assert_eq!(pod.get("/v1/prices/BTC-USD").await.status, 200);
    }
    assert_eq!(feed.last_position().await, position, "nothing is written while records may be missing");

    feed.repair(pods, seen).await;
    end(&mut poller).await;
    let records = same_records(pods).await;
    audit(&records);
    let lost = records.iter().filter(|record| record.cause.as_deref() == Some("log_lost"));
    assert!(lost.count() > 0, "a gap covers the lost slots");
    shown_slots_are_covered(&shown, &records);
    pods_agree(pods).await;
    history_is_the_log(pods[1], &records).await;
}

/// The new poller was not running when the lost records were written. The poller learns from the third server that
/// these records exist.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_poller_does_not_write_over_records_that_only_one_server_has() {
    require_nats!();
    let mut feed = Feed::start(12).await;
    let mut poller = feed.scene.poller().await;
    let pods = [&feed.scene.pod("one").await, &feed.scene.pod("other").await];
    has_price(pods[0]).await;
    let copies = feed.save(pods[0]).await;
    let seen = pods[0].takes_in(2 * SOME).await;
    let shown = records::all(pods[0]).await;
    poller.kill();

    feed.roll_back(&copies).await;
    let position = feed.last_position().await;
    assert!(position < seen);
    feed.cluster.nodes[2].restart().await.unwrap();
    let mut poller = feed.scene.command("new").arg("poller").start().unwrap();
    poller.wait_for_line(|line| has_event(line, "pair_in_doubt"), DEADLINE).await.unwrap();
    // Wait for longer than all servers must have been up to date before a poller considers records lost.
    slots_pass(15, INTERVAL).await;
    assert_eq!(feed.last_position().await, position, "nothing is written in place of the lost records");

    feed.repair(pods, seen).await;
    end(&mut poller).await;
    let records = same_records(pods).await;
    audit(&records);
    shown_slots_are_covered(&shown, &records);
    pods_agree(pods).await;
}
