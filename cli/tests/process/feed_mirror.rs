//! The mirror of the log for external subscribers, on a server with the configuration that we ship.

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
    message::StreamMessage,
};
use futures::StreamExt;
use serde_json::json;
use testkit::{nats::NatsServer, require_nats, wait_until};
use tokio::time::timeout;

use crate::{
    audit::audit,
    commands::run,
    feed_examples::Example,
    harness::{DEADLINE, Pod, has_price},
    records,
    roles::stage,
    survival::end as stop,
};

const STREAM: &str = "TICKS";

const LEASE: [&str; 2] = ["--set", "bus.lease=60s"];

/// How many records are read at once.
const SOME: u64 = 5;

/// How the commands call the mirror.
const MIRROR: &str = "TICKS for external subscribers";

/// The end of the mirror, as an external subscriber sees it.
async fn mirror_end(feed: &jetstream::Context) -> Option<u64> {
    Some(feed.get_stream(STREAM).await.ok()?.cached_info().state.last_sequence)
}

/// The sequences and contents of records from a position on.
async fn replay(feed: &jetstream::Context, deliver_policy: DeliverPolicy) -> Vec<(u64, serde_json::Value)> {
    let stream = feed.get_stream_no_info(STREAM).await.unwrap();
    let config = pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        filter_subject: "ticks.BTC.*".to_owned(),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let messages = consumer.messages().await.unwrap().take(usize::try_from(SOME).unwrap());
    let read = messages.map(|message| {
        let message = message.unwrap();
        (message.info().unwrap().stream_sequence, serde_json::from_slice(&message.payload).unwrap())
    });
    timeout(DEADLINE, read.collect()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_subscriber_can_replay_the_log_and_read_the_last_value() {
    require_nats!();
    let (_upstream, shipped, scene) = stage().await;
    let folder = scene.folder().to_owned();
    let (code, said) = shipped.log(&folder, "apply", "admin", &LEASE).await;
    assert!(code == Some(0) && said.contains(&format!("{MIRROR}: created")), "{said}");
    let (code, said) = shipped.log(&folder, "verify", "admin", &LEASE).await;
    assert!(code == Some(0) && said.contains(&format!("{MIRROR}: ok")), "{said}");
    let mut poller = scene.as_role("poller", &shipped.seed_file("poller")).start().unwrap();
    let pod = Pod::of(scene.as_role("api", &shipped.seed_file("api")).start().unwrap()).await;
    has_price(&pod).await;
    pod.takes_in(2 * SOME).await;
    stop(&mut poller).await;
    let log = records::all(&pod).await;
    let end = log.last().unwrap().sequence;

    let (client, mut refusals) = shipped.connect("feed").await;
    let feed = jetstream::new(client);
    let has_all = async || (mirror_end(&feed).await == Some(end)).then_some(());
    wait_until("the mirror has all records", DEADLINE, has_all).await;
    let stream = feed.get_stream(STREAM).await.unwrap();
    let StreamMessage { sequence, payload, .. } =
        stream.direct_get_last_for_subject("ticks.BTC.USD").await.unwrap();
    let last: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((sequence, last["epoch"].as_u64()), (end, Some(log.last().unwrap().epoch)));

    // The sequences are those of the log.
    let start = end - SOME;
    let by_sequence = replay(&feed, DeliverPolicy::ByStartSequence { start_sequence: start }).await;
    for (sequence, record) in &by_sequence {
        let ours = log.iter().find(|ours| ours.sequence == *sequence).unwrap();
        assert_eq!(
            (record["price"].as_str(), record["epoch"].as_u64()),
            (ours.price.as_deref(), Some(ours.epoch))
        );
    }
    assert_eq!(by_sequence[0].0, start);
    let start_time = stream.direct_get(start).await.unwrap().time;
    let by_time = replay(&feed, DeliverPolicy::ByStartTime { start_time }).await;
    assert_eq!(by_time, by_sequence);
    assert!(refusals.try_recv().is_err(), "nothing was refused");

    // A consumer may deliver to any subject, but what it delivers reaches neither the account of the log nor the other
    // subscribers.
    let mut heard = feed.client().subscribe("ticks.>").await.unwrap();
    for deliver in [
        "$KV.TICKS_lease.poller",
        "$JS.API.STREAM.DELETE.TICKS",
        "LOG.API.CONSUMER.CREATE.TICKS",
        "FEED.API.STREAM.DELETE.TICKS",
        "TICKS_mirror.x",
        "$JS.FC.TICKS.x.y",
        "ticks.BTC.USD",
    ] {
        let config = json!({"deliver_subject": deliver, "deliver_policy": "all", "ack_policy": "none",
                            "replay_policy": "instant", "filter_subject": "ticks.>"});
        let request = json!({"stream_name": STREAM, "config": config});
        let subject = "$JS.API.CONSUMER.CREATE.TICKS";
        let response = feed.client().request(subject, request.to_string().into()).await.unwrap();
        let response: serde_json::Value = serde_json::from_slice(&response.payload).unwrap();
        assert_eq!(response["error"], serde_json::Value::Null, "{deliver}");
    }
    assert_eq!(mirror_end(&feed).await, Some(end));
    let (code, said) = shipped.log(&folder, "verify", "admin", &LEASE).await;
    assert_eq!(code, Some(0), "{said}");
    let _poller = scene.as_role("poller", &shipped.seed_file("poller")).start().unwrap();
    let first = timeout(DEADLINE, heard.next()).await.unwrap().unwrap();
    let first: serde_json::Value = serde_json::from_slice(&first.payload).unwrap();
    assert!(first["kind"] == "lead" && first["epoch"].as_u64() > Some(log.last().unwrap().epoch), "{first}");
    pod.takes_in(SOME).await;
    audit(&records::all(&pod).await);
    let continued = records::all(&pod).await;
    let fenced = pod.metric("tickwell_ingest_rejected_total{reason=\"unfenced\"}").await;
    assert_eq!((continued[log.len()].sequence, fenced), (end + 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_resumes_and_the_mirror_follows_a_restored_log() {
    require_nats!();
    let Some(example) = Example::python() else { return };
    let (_upstream, shipped, scene) = stage().await;
    let folder = scene.folder().to_owned();
    let log = async |what: &str, role: &str, more: &[&str]| {
        let (code, said) = shipped.log(&folder, what, role, more).await;
        assert_eq!(code, Some(0), "{what}: {said}");
        said
    };
    log("apply", "admin", &LEASE).await;
    let mut poller = scene.as_role("poller", &shipped.seed_file("poller")).start().unwrap();
    let pod = Pod::of(scene.as_role("api", &shipped.seed_file("api")).start().unwrap()).await;
    has_price(&pod).await;
    log("backup", "maintenance", &["early"]).await;

    // The first run begins with the newest record, and the second one continues without a gap or a repetition.
    let state = folder.join("position");
    let run = async || {
        let mut running = example.start(&shipped, &state);
        running.prints(usize::try_from(SOME).unwrap()).await;
        running.killed().await
    };
    let mut heard = run().await;
    heard.extend(run().await);
    let first = heard[0];
    assert!(first > 1, "not the oldest record");
    let expected: Vec<u64> = (first..first + u64::try_from(heard.len()).unwrap()).collect();
    assert_eq!(heard, expected);
    stop(&mut poller).await;

    // A mirror of the replaced log never continues, so it is replaced too.
    log("restore", "maintenance", &["early", "--replace"]).await;
    let (code, said) = shipped.log(&folder, "verify", "admin", &LEASE).await;
    assert!(code == Some(1) && said.contains(&format!("{MIRROR}: is a copy of an earlier log")), "{said}");
    let said = log("apply", "admin", &LEASE).await;
    assert!(said.contains(&format!("{MIRROR}: created")), "{said}");
    log("verify", "admin", &LEASE).await;
    let poller = scene.as_role("poller", &shipped.seed_file("poller")).start().unwrap();
    // The position of the example is beyond the end of the restored log. The example starts again.
    let again = run().await;
    assert!(again.windows(2).all(|pair| pair[1] == pair[0] + 1), "{again:?}");
    drop(poller);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_an_account_for_subscribers_has_no_mirror() {
    require_nats!();
    let nats = NatsServer::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for what in ["apply", "verify"] {
        let (code, said) = run(folder.path(), &["log", what], &[("TICKWELL__BUS__URL", &nats.url())]).await;
        let left_out = format!("{MIRROR}: left out, because the NATS server has no account FEED");
        assert!(code == Some(0) && said.contains(&left_out), "{said}");
    }
}
