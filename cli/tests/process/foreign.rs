//! Messages in the stream that the poller did not write: damaged, foreign, repeated, or of a newer version.

use async_nats::jetstream::{self, message::PublishMessage};
use testkit::{nats::NatsServer, process::Tickwell, require_nats, upstream::FakeUpstream, wait_until};

use crate::{
    agreement::{averages_are_right_but, history_is_the_log, pods_agree, same_records_but},
    audit::audit,
    harness::{DEADLINE, INTERVAL, Pod, Scene, field, has_price, slots_pass, world},
    nats_stream::begins_anew,
    records::{self, Kind, Record},
    survival::{check_takeovers, end},
};

const SUBJECT: &str = "ticks.BTC.USD";

/// Several kinds of messages that are not records.
const GARBAGE: [&[u8]; 4] = [b"\xff\xfe\x00", b"", b"[]", br#"{"version":1,"kind":"tick","pair":"BTC-USD"}"#];

/// A log, the settings of the processes that use it, and a connection with which the test writes messages to it.
pub(crate) struct World {
    pub(crate) nats: NatsServer,
    _upstream: FakeUpstream,
    pub(crate) scene: Scene,
    log: jetstream::Context,
    /// The sequences of the messages that the test has put into the log.
    pub(crate) foreign: Vec<u64>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let (nats, upstream, scene) = world().await;
        let log = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
        Self { nats, _upstream: upstream, scene, log, foreign: Vec::new() }
    }

    /// Publishes a message without an id and without an expected last sequence (the fence), so the server does not
    /// refuse it.
    async fn put(&mut self, payload: impl Into<Vec<u8>>) -> u64 {
        let payload: Vec<u8> = payload.into();
        let sent = self.log.publish(SUBJECT, payload.into()).await.unwrap();
        let sequence = sent.await.unwrap().sequence;
        self.foreign.push(sequence);
        sequence
    }

    /// Publishes a message as a poller would, with an id and the expected last sequence (the fence).
    pub(crate) async fn put_fenced(&mut self, id: &str, payload: &str) -> u64 {
        let stream = self.log.get_stream("TICKS").await.unwrap();
        let try_once = async || {
            let newest = stream.get_last_raw_message_by_subject(SUBJECT).await.unwrap().sequence;
            let message = PublishMessage::build()
                .message_id(id)
                .expected_last_subject_sequence(newest)
                .payload(payload.to_owned().into());
            // Fails if a running poller has published another record meanwhile.
            Some(self.log.send_publish(SUBJECT, message).await.unwrap().await.ok()?.sequence)
        };
        let sequence = wait_until("the message is stored", DEADLINE, try_once).await;
        self.foreign.push(sequence);
        sequence
    }

    /// The text of the log's first tick. Its slot passed long ago.
    async fn first_tick(&self, pod: &Pod) -> String {
        let records = records::all_but(pod, &self.foreign).await;
        self.message(records.iter().find(|record| record.is_tick()).unwrap().sequence).await
    }

    /// The text of a message of the log.
    pub(crate) async fn message(&self, sequence: u64) -> String {
        let stream = self.log.get_stream("TICKS").await.unwrap();
        let message = stream.get_raw_message(sequence).await.unwrap();
        String::from_utf8(message.payload.to_vec()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_skip_messages_that_are_not_records_and_the_poller_continues() {
    require_nats!();
    let mut world = World::start().await;
    let mut poller = world.scene.poller().await;
    let pods = [&world.scene.pod("one").await, &world.scene.pod("other").await];
    has_price(pods[0]).await;
    pods[0].takes_in(4).await;
    let first_tick = world.first_tick(pods[0]).await;

    for garbage in GARBAGE {
        let sequence = world.put(garbage).await;
        pods[0].reaches(sequence + 2).await;
    }
    let sequence = world.put(simulated(&first_tick)).await;
    pods[0].reaches(sequence + 3).await;
    for _time in 0..2 {
        let sequence = world.put(first_tick.clone()).await;
        pods[0].reaches(sequence + 3).await;
    }
    pods_agree(pods).await;
    end(&mut poller).await;

    let records = same_records_but(pods, &world.foreign).await;
    assert_eq!(audit(&records).leads, 1, "the poller continued in the same epoch");
    pods_agree(pods).await;
    averages_are_right_but(pods[1], &world.foreign).await;
    history_is_the_log(pods[0], &records).await;
    // A new pod that reads the whole log at once skips the same messages as the other pods.
    let newcomer = world.scene.pod("newcomer").await;
    newcomer.reaches(records.last().unwrap().sequence).await;
    pods_agree([pods[0], &newcomer]).await;
    for pod in [pods[0], pods[1], &newcomer] {
        assert_eq!(pod.metric("tickwell_ingest_rejected_total{reason=\"unfenced\"}").await, 7);
    }
    drop(world.nats);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_starts_after_garbage() {
    starts_after(|_first_tick| GARBAGE[0].to_vec()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_starts_after_a_repeated_record() {
    starts_after(|first_tick| first_tick.as_bytes().to_vec()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_starts_after_a_stray_record_of_another_origin() {
    starts_after(|first_tick| simulated(first_tick).into_bytes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_does_not_continue_a_log_of_another_origin() {
    require_nats!();
    let mut world = World::start().await;
    let mut poller = world.scene.poller().await;
    let pod = world.scene.pod("pod").await;
    has_price(&pod).await;
    let simulated = simulated(&world.first_tick(&pod).await);
    end(&mut poller).await;
    // The slot is a part of the message's id. With the slot of an existing record, the server would treat the message
    // as a duplicate.
    let slot = "2099-01-01T00:00:00.000Z";
    let simulated = simulated.replace(&field(&simulated, "slot").unwrap(), slot);
    let sequence = world.put_fenced(&format!("BTC-USD:{slot}"), &simulated).await;

    let mut poller = world.scene.command("poller").arg("poller").start().unwrap();
    assert_eq!(poller.wait_exit(DEADLINE).await.unwrap().code(), Some(1));
    let lines = poller.lines().join("\n");
    assert!(lines.contains("simulated") && lines.contains("bus.stream"), "{lines}");
    // The poller wrote nothing, and the pod skipped the foreign record.
    assert_eq!(pod.reaches(sequence).await, sequence);
    assert_eq!(audit(&records::all_but(&pod, &world.foreign).await).leads, 1);
    assert_eq!(pod.metric("tickwell_ingest_rejected_total{reason=\"origin\"}").await, 1);
}

/// Kills a poller and publishes a message after its last record. The next poller must continue where the first one
/// ended, as if the message did not exist.
async fn starts_after(message: impl Fn(&str) -> Vec<u8>) {
    require_nats!();
    let mut world = World::start().await;
    world.scene = world.scene.with_short_lease();
    let mut poller = world.scene.poller().await;
    let pods = [&world.scene.pod("one").await, &world.scene.pod("other").await];
    has_price(pods[0]).await;
    pods[0].takes_in(6).await;
    let first_tick = world.first_tick(pods[0]).await;
    poller.kill();
    slots_pass(4, INTERVAL).await;
    let sequence = world.put(message(&first_tick)).await;
    let mut poller = world.scene.poller().await;
    pods[0].reaches(sequence + 4).await;
    end(&mut poller).await;

    let records = same_records_but(pods, &world.foreign).await;
    assert_eq!(audit(&records).leaders, 2);
    check_takeovers(&records);
    pods_agree(pods).await;
}

fn simulated(record: &str) -> String {
    let changed = record.replace(r#""origin":"live""#, r#""origin":"simulated""#);
    assert_ne!(changed, record);
    changed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_a_newer_version_stops_a_pod_that_keeps_what_it_has() {
    require_nats!();
    let mut world = World::start().await;
    let mut poller = world.scene.poller().await;
    let mut pods = [world.scene.pod("one").await, world.scene.pod("other").await];
    has_price(&pods[0]).await;
    pods[0].takes_in(6).await;
    let newer = world.first_tick(&pods[0]).await.replace(r#""version":1"#, r#""version":2"#);
    let sequence = world.put_fenced("a newer kind of id", &newer).await;

    // The poller exits. If it continued, it could publish slots again that the record of the newer version already
    // contains.
    let status = poller.wait_exit(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(says_version(&poller), "{}", poller.lines().join("\n"));
    for pod in &pods {
        check_stopped(pod, sequence).await;
    }
    pods_agree([&pods[0], &pods[1]]).await;

    // After a restart, the pod stops at this message again, because the log still contains the message.
    end(&mut pods[1].process).await;
    pods[1] = world.scene.pod("other").await;
    check_stopped(&pods[1], sequence).await;
    pods_agree([&pods[0], &pods[1]]).await;
    let records: Vec<Record> = same_records_but([&pods[0], &pods[1]], &[]).await;
    assert!(audit(&records).ticks > 0 && records[0].kind == Kind::Lead);

    // If the log is replaced with a new one, the pod continues with the new log.
    world.log.delete_stream("TICKS").await.unwrap();
    let _poller = world.scene.poller().await;
    begins_anew(&pods[0], &world.scene, "one", 1).await;
    pods[0].takes_in(2).await;
}

/// Checks that a pod has stopped before a message that it cannot read, reports this, and still serves what it has.
async fn check_stopped(pod: &Pod, message: u64) {
    let ready = wait_until("the pod is unready", DEADLINE, async || {
        let ready = pod.get("/readyz?verbose").await;
        ready.text().contains("has version 2").then_some(ready)
    })
    .await;
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &false.into()));
    let checks = ready.json()["checks"].to_string();
    assert!(checks.contains(&message.to_string()) && checks.contains("version 2"), "{checks}");
    assert_eq!(pod.get("/livez").await.status, 200, "a restart would not help");
    let price = pod.get("/v1/prices/BTC-USD").await;
    assert_eq!((price.status, price.sequence()), (200, message - 1), "{}", price.text());
    assert!(says_version(&pod.process));
}

fn says_version(process: &Tickwell) -> bool {
    process.lines().iter().any(|line| line.contains("has version 2"))
}
