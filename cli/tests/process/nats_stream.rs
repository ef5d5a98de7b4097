//! Tests in which the stream is deleted, replaced, rolled back, reconfigured, full or unreachable while pollers and
//! pods run.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy},
};
use testkit::{clock::now_ms, nats::NatsServer, process::Tickwell, require_nats, wait_until};

use crate::{
    agreement::{history_is_the_log, pods_agree, same_records},
    audit::{audit, nothing_lost},
    harness::{DEADLINE, INTERVAL, Pod, Scene, check, has_event, has_price, slots_pass, world},
    records::{self, Kind, Record},
    survival::end,
};

const STREAM: &str = "TICKS";

/// The minimum number of records between two steps of a test.
const SOME: u64 = 6;

/// A connection to the log with an operator's rights.
pub(crate) async fn operator(nats: &NatsServer) -> jetstream::Context {
    jetstream::new(async_nats::connect(nats.url()).await.unwrap())
}

/// Changes the stream's configuration.
pub(crate) async fn change(log: &jetstream::Context, change: impl Fn(&mut Config)) {
    let mut config = log.get_stream(STREAM).await.unwrap().cached_info().config.clone();
    change(&mut config);
    log.update_stream(config).await.unwrap();
}

/// Waits until a pod has moved its store aside this many times and serves from a new one.
pub(crate) async fn begins_anew(pod: &Pod, scene: &Scene, name: &str, times: usize) {
    wait_until("the pod serves from a new store", DEADLINE, async || {
        let aside = std::fs::read_dir(scene.store(name))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("damaged-"));
        (aside.count() == times && pod.get("/v1/prices").await.status == 200).then_some(())
    })
    .await;
    let metric = "tickwell_store_rebuilds_total{reason=\"replaced\"}";
    assert_eq!(usize::try_from(pod.metric(metric).await).unwrap(), times);
}

/// Waits until a pod reports this trouble with its log and this reason. The pod must still serve what it has.
pub(crate) async fn is_in_trouble(pod: &Pod, trouble: &str, reason: &str) {
    let since = now_ms();
    let ready = wait_until(&format!("the pod reports {reason:?}"), DEADLINE, async || {
        let ready = pod.get("/readyz?verbose").await;
        let log = check(&ready.json(), "log");
        (log["condition"] == "degraded" && log["reason"].to_string().contains(reason)).then_some(ready)
    })
    .await;
    // Pods promise to report this within five seconds, whatever the interval between slots is.
    println!("{trouble}: reported after {} ms, promised 5000 ms", now_ms() - since);
    assert_eq!(ready.status, 200, "a pod stays in service: {}", ready.text());
    assert_eq!(pod.metric(&format!("tickwell_log_trouble{{trouble=\"{trouble}\"}}")).await, 1);
    assert_eq!(pod.get("/v1/prices").await.status, 200);
}

/// Waits until a pod reports no problem.
pub(crate) async fn is_well(pod: &Pod) {
    let well = async || (!pod.get("/readyz?verbose").await.text().contains("reason")).then_some(());
    wait_until("the pod reports no problem", DEADLINE, well).await;
}

fn reports(process: &Tickwell, event: &str) -> bool {
    process.lines().iter().any(|line| has_event(line, event))
}

fn newest_slot(records: &[Record]) -> i64 {
    records.iter().filter_map(Record::covers).map(|(_, last)| last).max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_stream_is_recreated_and_the_feed_continues_in_the_new_log() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    let log = operator(&nats).await;
    let (mut leader, mut standby) = (scene.poller().await, scene.standby().await);
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    let mut before: Vec<Record> = Vec::new();
    for times in 1..=2 {
        pods[0].takes_in(SOME).await;
        before = records::all(pods[0]).await.into_iter().chain(before).collect();
        log.delete_stream(STREAM).await.unwrap();
        begins_anew(pods[0], &scene, "one", times).await;
        begins_anew(pods[1], &scene, "other", times).await;
    }
    pods[0].reaches(3 * SOME).await;
    end(&mut standby).await;
    end(&mut leader).await;

    // The new log contains no record of the old one, and the leader has not changed.
    let records = same_records(pods).await;
    pods_agree(pods).await;
    history_is_the_log(pods[0], &records).await;
    assert_eq!(records[0].kind, Kind::Lead);
    assert_eq!(audit(&records).leaders, 1);
    assert!(reports(&leader, "stream_recreated"));
    let old_epoch = before.iter().map(|record| record.epoch).max().unwrap();
    assert!(records.iter().all(|record| record.epoch > old_epoch), "after epoch {old_epoch}");
    let first = records.iter().filter_map(Record::covers).map(|(from, _)| from).min().unwrap();
    assert!(first > newest_slot(&before), "no slot is covered in both logs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_reports_the_problem_with_its_log_and_continues_to_serve() {
    require_nats!();
    // The poller is stopped below, because it would recreate the stream.
    let (mut nats, _upstream, scene) = world().await;
    let log = operator(&nats).await;
    let mut poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    has_price(&pod).await;
    end(&mut poller).await;
    is_well(&pod).await;

    change(&log, |config| config.max_age = Duration::from_secs(3_600)).await;
    let names_the_option =
        |line: &str| has_event(line, "stream_options_differ") && line.contains("max_age is 3600s");
    pod.process.wait_for_line(names_the_option, DEADLINE).await.unwrap();
    change(&log, |config| config.subjects = vec!["elsewhere.>".to_owned()]).await;
    is_in_trouble(&pod, "reconfigured", "elsewhere.>").await;
    change(&log, |config| config.subjects = vec!["ticks.>".to_owned()]).await;
    is_well(&pod).await;
    nats.kill();
    is_in_trouble(&pod, "silent", "the log does not respond").await;
    nats.restart().await.unwrap();
    is_well(&pod).await;
    log.delete_stream(STREAM).await.unwrap();
    is_in_trouble(&pod, "gone", "there is no stream TICKS").await;
    assert_eq!(pod.metric("tickwell_log_trouble{trouble=\"silent\"}").await, 0);

    // A pod without a copy of the log reports the missing stream too, and cannot serve.
    let newcomer = scene.waiting_pod("newcomer").await;
    wait_until("the newcomer reports the reason", DEADLINE, async || {
        let ready = newcomer.get("/readyz?verbose").await;
        (ready.status == 503 && ready.text().contains("there is no stream TICKS")).then_some(())
    })
    .await;
    let _poller = scene.poller().await;
    begins_anew(&pod, &scene, "pod", 1).await;
    has_price(&newcomer).await;
    is_well(&newcomer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_was_down_while_the_stream_was_replaced_soon_serves_the_new_one() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    let log = operator(&nats).await;
    let mut poller = scene.poller().await;
    let witness = scene.pod("witness").await;
    let mut pod = scene.pod("pod").await;
    pod.takes_in(SOME).await;
    end(&mut pod.process).await;
    log.delete_stream(STREAM).await.unwrap();
    begins_anew(&witness, &scene, "witness", 1).await;

    let pod = scene.pod("pod").await;
    begins_anew(&pod, &scene, "pod", 1).await;
    pod.reaches(SOME).await;
    end(&mut poller).await;
    let records = same_records([&witness, &pod]).await;
    pods_agree([&witness, &pod]).await;
    assert_eq!(audit(&records).leaders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_restored_to_an_older_state_is_rebuilt_from_by_every_pod() {
    require_nats!();
    let (mut nats, _upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    let mut absent = scene.pod("absent").await;
    pod.takes_in(SOME).await;
    let saved = nats.save().unwrap();
    nats.restart().await.unwrap();
    let before = absent.takes_in(SOME).await;
    end(&mut absent.process).await;
    pod.reaches(before + 1).await;

    nats.restore(&saved).unwrap();
    nats.restart().await.unwrap();
    begins_anew(&pod, &scene, "pod", 1).await;
    // The restored log has the same name and creation time as the log that it replaced, and becomes longer than the
    // copy of the absent pod. The absent pod must nevertheless notice that its copy has records that the restored log
    // lacks.
    pod.reaches(before + SOME).await;
    let absent = scene.pod("absent").await;
    begins_anew(&absent, &scene, "absent", 1).await;
    absent.reaches(before + SOME).await;
    end(&mut poller).await;
    let records = same_records([&pod, &absent]).await;
    pods_agree([&pod, &absent]).await;
    history_is_the_log(&pod, &records).await;
    assert_eq!(audit(&records).leaders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_consumer_is_recreated() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    let log = operator(&nats).await;
    let mut poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    for _round in 0..3 {
        pod.takes_in(2).await;
        let stream = log.get_stream(STREAM).await.unwrap();
        let names: Vec<String> = futures::TryStreamExt::try_collect(stream.consumer_names()).await.unwrap();
        assert!(!names.is_empty());
        for name in names {
            stream.delete_consumer(&name).await.unwrap();
        }
        let since = now_ms();
        pod.takes_in(2).await;
        println!("two more records {} ms after the consumer was deleted, promised 5000 ms", now_ms() - since);
    }
    end(&mut poller).await;
    let records = records::all(&pod).await;
    assert_eq!(audit(&records).leads, 1);
    assert_eq!(pod.metric("tickwell_store_rebuilds_total{reason=\"replaced\"}").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_starts_without_nats_serves_what_it_has_and_catches_up_later() {
    require_nats!();
    let (mut nats, _upstream, scene) = world().await;
    let scene = scene.with("TICKWELL__WINDOWS__STALE_AFTER", "1s");
    let mut poller = scene.poller().await;
    let mut pod = scene.pod("pod").await;
    has_price(&pod).await;
    pod.takes_in(SOME).await;
    end(&mut pod.process).await;
    nats.kill();
    let pod = scene.pod("pod").await;
    let before = records::all(&pod).await;
    assert!(before.len() > 6);
    is_in_trouble(&pod, "silent", "the log does not respond").await;
    slots_pass(4, INTERVAL).await;
    assert_eq!(pod.get("/v1/prices/BTC-USD").await.found()["stale"], true);

    nats.restart().await.unwrap();
    pod.takes_in(SOME).await;
    is_well(&pod).await;
    end(&mut poller).await;
    let records = records::all(&pod).await;
    nothing_lost(&before, &records);
    audit(&records);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_stores_nothing_until_there_is_room_and_then_everything() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    let log = operator(&nats).await;
    let mut poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    has_price(&pod).await;
    pod.takes_in(SOME).await;
    let bytes = log.get_stream(STREAM).await.unwrap().cached_info().state.bytes;
    change(&log, |config| {
        (config.max_bytes, config.discard) = (i64::try_from(bytes).unwrap() + 1, DiscardPolicy::New);
    })
    .await;
    let refused = |line: &str| has_event(line, "publish_failed") && line.contains("maximum bytes exceeded");
    poller.wait_for_line(refused, DEADLINE).await.unwrap();
    let before = records::all(&pod).await;
    slots_pass(3, INTERVAL).await;
    assert_eq!(pod.get("/v1/prices").await.status, 200);

    change(&log, |config| config.max_bytes = 1 << 30).await;
    pod.takes_in(SOME).await;
    end(&mut poller).await;
    let records = records::all(&pod).await;
    nothing_lost(&before, &records);
    assert_eq!(audit(&records).leads, 1, "the poller continued in the same epoch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pollers_survive_a_server_that_loses_everything() {
    require_nats!();
    let (nats, _upstream, scene) = world().await;
    let scene = scene.with_short_lease();
    let log = operator(&nats).await;
    let (mut one, mut other) = (scene.poller().await, scene.standby().await);
    let pods = [&scene.pod("one").await, &scene.pod("other").await];
    pods[0].takes_in(SOME).await;
    log.delete_stream(STREAM).await.unwrap();
    log.delete_key_value("TICKS_lease").await.unwrap();
    begins_anew(pods[0], &scene, "one", 1).await;
    begins_anew(pods[1], &scene, "other", 1).await;
    pods[0].takes_in(SOME).await;
    end(&mut one).await;
    pods[0].takes_in(SOME).await;
    end(&mut other).await;
    audit(&same_records(pods).await);
    pods_agree(pods).await;
}

/// A server configuration with the users `operator`, `poller` and, if `pod` is given, `pod`. The arguments are the
/// subjects to which the poller and the pods may publish.
fn permissions(poller: &[&str], pod: Option<&[&str]>) -> String {
    let list = |subjects: &[&str]| format!("{subjects:?}");
    let user = |name: &str, inbox: &str, publish: String| {
        format!(
            "{{ user: {name}, password: x, permissions: {{ publish: {publish}, subscribe: \"{inbox}.>\" }} }}"
        )
    };
    let poller = user("poller", "_INBOX_poller", list(poller));
    let pod = pod.map_or(String::new(), |pod| user("pod", "_INBOX_api", list(pod)));
    format!("authorization {{ users: [ {{ user: operator, password: x }}, {poller}, {pod} ] }}\n")
}

/// All rights that a poller needs, except for creating the stream.
const POLLER: [&str; 7] = [
    "ticks.>",
    "$KV.TICKS_lease.poller",
    "$JS.API.STREAM.INFO.TICKS",
    "$JS.API.STREAM.INFO.KV_TICKS_lease",
    "$JS.API.DIRECT.GET.KV_TICKS_lease.>",
    "$JS.API.STREAM.MSG.GET.TICKS",
    "$JS.API.STREAM.CREATE.KV_TICKS_lease",
];

/// All rights that a pod needs, except for reading the stream's state.
const POD: [&str; 2] = ["$JS.API.CONSUMER.CREATE.TICKS.*.ticks.>", "$JS.API.CONSUMER.MSG.NEXT.TICKS.*"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_nats_refuses_is_named_and_counted() {
    require_nats!();
    let (mut nats, _upstream, scene) = world().await;
    let poller_with = |one: &'static str| [&POLLER[..], &[one]].concat();
    let may_create = poller_with("$JS.API.STREAM.CREATE.TICKS");
    let pod_may = [&POD[..], &["$JS.API.STREAM.INFO.TICKS"]].concat();
    let all = permissions(&may_create, Some(&pod_may));
    nats.configure(&all).unwrap();
    nats.restart().await.unwrap();
    let url = |user: &str| nats.url().replace("://", &format!("://{user}:x@"));
    let (as_poller, as_pod) = (url("poller"), url("pod"));
    let operator = async_nats::ConnectOptions::with_user_and_password("operator".into(), "x".into());
    let log = jetstream::new(operator.connect(nats.url()).await.unwrap());
    let poller = scene.command("poller").arg("poller").env("TICKWELL__BUS__URL", as_poller).start().unwrap();
    let pod =
        Pod::of(scene.command("pod").arg("api").env("TICKWELL__BUS__URL", as_pod).start().unwrap()).await;
    has_price(&pod).await;
    let violations = async || pod.metric("tickwell_nats_denials_total").await;
    assert_eq!(violations().await, 0, "the documented rights are enough");

    // While messages arrive, a refused request for the stream's state is only counted and logged.
    nats.configure(&permissions(&may_create, Some(&POD))).unwrap();
    let refused =
        |line: &str| has_event(line, "nats_permission_denied") && line.contains("$JS.API.STREAM.INFO.TICKS");
    pod.process.wait_for_line(refused, DEADLINE).await.unwrap();
    assert!(violations().await > 0);
    nats.configure(&permissions(&may_create, None)).unwrap();
    is_in_trouble(&pod, "refused", "uthorization").await;
    nats.configure(&all).unwrap();
    is_well(&pod).await;

    nats.configure(&permissions(&POLLER, Some(&pod_may))).unwrap();
    log.delete_stream(STREAM).await.unwrap();
    let says_how = |line: &str| {
        has_event(line, "degraded")
            && ["tickwell log apply", "ermissions Violation", "STREAM.CREATE.TICKS"]
                .iter()
                .all(|part| line.contains(part))
    };
    poller.wait_for_line(says_how, DEADLINE).await.unwrap();
    is_in_trouble(&pod, "gone", "there is no stream TICKS").await;
    nats.configure(&all).unwrap();
    begins_anew(&pod, &scene, "pod", 1).await;
    pod.takes_in(SOME).await;
    audit(&records::all(&pod).await);
}
