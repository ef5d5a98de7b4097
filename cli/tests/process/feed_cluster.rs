//! The mirror of the log for external subscribers has exactly the records of the log, also after servers of a cluster were
//! killed, and after the log has lost records.

use std::{collections::BTreeMap, path::Path};

use async_nats::{ConnectOptions, jetstream};
use testkit::{nats::NatsServer, require_nats, wait_until};
use tokio::time::Instant;

use crate::{
    commands::run,
    harness::{DEADLINE, INTERVAL, Pod, Scene, has_event, has_price, moving_upstream},
    roles::{make_keys, three_servers},
    survival::end,
};

const STREAM: &str = "TICKS";

/// How the commands call the mirror.
const MIRROR: &str = "TICKS for external subscribers";

/// The number of records between two steps of a test.
const SOME: u64 = 6;

/// JetStream as a role sees it. The role feed sees the mirror, and the role api the log itself.
async fn stream_of(role: &str, keys: &Path, url: &str) -> jetstream::Context {
    let seed = std::fs::read_to_string(keys.join(format!("{role}.nk"))).unwrap().trim().to_owned();
    let inbox = if role == "feed" { "_INBOX".to_owned() } else { format!("_INBOX_{role}") };
    let servers: Vec<&str> = url.split(',').collect();
    let options = ConnectOptions::with_nkey(seed).custom_inbox_prefix(inbox);
    jetstream::new(options.connect(servers.as_slice()).await.unwrap())
}

/// The state of the stream: its leader, and its newest sequence. `None` if there is no leader or no response.
async fn state(context: &jetstream::Context) -> Option<(String, u64)> {
    let info = context.get_stream(STREAM).await.ok()?.cached_info().clone();
    let leader = info.cluster.and_then(|cluster| cluster.leader).unwrap_or_default();
    Some((leader, info.state.last_sequence))
}

/// The header of a record that NATS removes in the mirror.
const FENCE: &str = "Nats-Expected-Last-Subject-Sequence";

/// A message: its sequence, subject, headers, payload and time.
type Message = (u64, String, BTreeMap<String, String>, Vec<u8>, String);

/// The messages of a stream in a range, read from the stream's leader.
async fn messages(context: &jetstream::Context, range: std::ops::RangeInclusive<u64>) -> Vec<Message> {
    let stream = context.get_stream_no_info(STREAM).await.unwrap();
    let mut found = Vec::new();
    for sequence in range {
        let message = async || stream.get_raw_message(sequence).await.ok();
        let message = wait_until("a message", DEADLINE, message).await;
        let headers = message.headers.iter().map(|(name, values)| (name.to_string(), values[0].to_string()));
        found.push((
            message.sequence,
            message.subject.to_string(),
            headers.collect(),
            message.payload.to_vec(),
            message.time.to_string(),
        ));
    }
    found
}

/// Waits until the mirror has all records that the log has now, and checks that each is the same.
async fn is_the_same(log: &jetstream::Context, feed: &jetstream::Context) {
    let (_, last) = wait_until("the state of the log", DEADLINE, async || state(log).await).await;
    let began = Instant::now();
    let caught_up = async || state(feed).await.filter(|(_, mirrored)| *mirrored >= last);
    wait_until("the mirror has all records", DEADLINE, caught_up).await;
    println!("the mirror had record {last} after {:?}", began.elapsed());
    let mut expected = messages(log, 1..=last).await;
    for (sequence, _, headers, ..) in &mut expected {
        assert!(headers.remove(FENCE).is_some(), "record {sequence} has passed the fence");
    }
    assert_eq!(messages(feed, 1..=last).await, expected);
}

/// The node that leads a stream.
async fn leader(context: &jetstream::Context) -> usize {
    let leading =
        async || state(context).await.and_then(|(leader, _)| leader.strip_prefix("node-")?.parse().ok());
    wait_until("a leader", DEADLINE, leading).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mirror_on_three_servers_has_the_records_of_the_log_after_its_leader_was_killed() {
    require_nats!();
    let upstream = moving_upstream(INTERVAL).await;
    let (scene, mut cluster, keys) = three_servers(&upstream).await;
    let (url, admin) = (cluster.url(), keys.join("admin.nk").display().to_string());
    let environment = [("TICKWELL__BUS__URL", url.as_str()), ("TICKWELL__BUS__CREDENTIALS_FILE", &admin)];
    let log = async |what: &[&str]| {
        let options = ["--set", "bus.lease=60s", "--set", "bus.replicas=3"];
        run(scene.folder(), &[&["log"], what, options.as_slice()].concat(), &environment).await
    };
    let (code, said) = log(&["apply"]).await;
    assert!(code == Some(0) && said.contains(&format!("{MIRROR}: created")), "{said}");

    let poller = scene.as_role("poller", &keys.join("poller.nk")).start().unwrap();
    poller.wait_for_line(|line| has_event(line, "leading"), DEADLINE).await.unwrap();
    let pod = Pod::of(scene.as_role("api", &keys.join("api.nk")).start().unwrap()).await;
    has_price(&pod).await;
    pod.takes_in(SOME).await;
    let [of_log, of_feed] = [stream_of("api", &keys, &url).await, stream_of("feed", &keys, &url).await];
    is_the_same(&of_log, &of_feed).await;
    for mirror_too in [false, true] {
        // The leader of the log dies, and in the second round also the leader of the mirror, unless it is the same server.
        let node = leader(if mirror_too { &of_feed } else { &of_log }).await;
        cluster.nodes[node].kill();
        pod.takes_in(SOME).await;
        is_the_same(&of_log, &of_feed).await;
        cluster.nodes[node].restart().await.unwrap();
        pod.takes_in(SOME).await;
        is_the_same(&of_log, &of_feed).await;
    }
    let complete = async || (log(&["verify"]).await.0 == Some(0)).then_some(());
    wait_until("all servers have all records", DEADLINE, complete).await;

    // A repair of the log replaces the mirror too.
    let (code, said) = log(&["repair", "--yes"]).await;
    assert!(code == Some(0) && said.contains(&format!("{MIRROR}: created")), "{said}");
    pod.takes_in(SOME).await;
    is_the_same(&of_log, &of_feed).await;
    wait_until("all servers have all records", DEADLINE, complete).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_with_records_that_the_log_has_lost_is_replaced() {
    require_nats!();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let keys = make_keys(scene.folder(), "keys").await;
    let public = std::fs::read_to_string(keys.join("keys.conf")).unwrap();
    let mut nats = NatsServer::start_shipped(&public).await.unwrap();
    let scene = scene.over(&nats);
    let (url, admin) = (nats.url(), keys.join("admin.nk").display().to_string());
    let environment = [("TICKWELL__BUS__URL", url.as_str()), ("TICKWELL__BUS__CREDENTIALS_FILE", &admin)];
    let log = async |what: &[&str]| {
        run(scene.folder(), &[&["log"], what, &["--set", "bus.lease=60s"]].concat(), &environment).await
    };
    assert_eq!(log(&["apply"]).await.0, Some(0));
    let mut poller = scene.as_role("poller", &keys.join("poller.nk")).start().unwrap();
    let pod = Pod::of(scene.as_role("api", &keys.join("api.nk")).start().unwrap()).await;
    has_price(&pod).await;
    pod.takes_in(SOME).await;
    let saved = nats.save().unwrap();
    nats.restart().await.unwrap();
    pod.takes_in(SOME).await;
    end(&mut poller).await;
    let [of_log, of_feed] = [stream_of("api", &keys, &url).await, stream_of("feed", &keys, &url).await];
    is_the_same(&of_log, &of_feed).await;
    let (_, mirrored) = state(&of_feed).await.unwrap();

    // The log loses its newest records, but the mirror keeps them.
    nats.restore_stream(&saved, "TICKWELL", STREAM).unwrap();
    nats.restart().await.unwrap();
    let lost = async || state(&of_log).await.map(|(_, last)| last).filter(|last| *last < mirrored);
    let kept = wait_until("the state of the log", DEADLINE, lost).await;
    let (code, said) = log(&["verify"]).await;
    assert!(code == Some(1) && said.contains(&format!("{MIRROR}: is a copy of an earlier log")), "{said}");

    // Once the log is longer than the mirror, the mirror continues, but its older records are not those of the log.
    let poller = scene.as_role("poller", &keys.join("poller.nk")).start().unwrap();
    let longer = async || state(&of_feed).await.filter(|(_, last)| *last > mirrored + SOME);
    wait_until("the mirror continues", DEADLINE, longer).await;
    let range = kept + 1..=mirrored;
    let [mirrored, logged] = [messages(&of_feed, range.clone()).await, messages(&of_log, range).await];
    let ids = |messages: Vec<Message>| -> Vec<String> {
        messages.into_iter().map(|(_, _, headers, ..)| headers["Nats-Msg-Id"].clone()).collect()
    };
    assert_ne!(ids(mirrored), ids(logged));
    let (code, said) = log(&["apply", "--new-mirror"]).await;
    assert!(code == Some(0) && said.contains(&format!("{MIRROR}: created")), "{said}");
    is_the_same(&of_log, &of_feed).await;
    let (code, said) = log(&["verify"]).await;
    assert_eq!(code, Some(0), "{said}");
    drop(poller);
}
