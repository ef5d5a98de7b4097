//! Tests the real binary with each role's key on a server with the configuration that we ship (`nats/nats.conf`). The
//! server must refuse what a role may not do.

use std::path::{Path, PathBuf};

use async_nats::{Client, ConnectOptions, Event};
use futures::StreamExt;
use testkit::{
    nats::{NatsCluster, NatsServer},
    process::Tickwell,
    require_nats,
    upstream::FakeUpstream,
    wait_until,
};
use tokio::sync::mpsc;

use crate::{
    audit::audit,
    commands::run,
    harness::{DEADLINE, INTERVAL, Pod, Scene, field, has_event, has_price, moving_upstream},
    nats_stream::{is_in_trouble, is_well},
    records,
};

const ROLES: [&str; 5] = ["poller", "api", "feed", "admin", "maintenance"];

/// The maximum number of refusals that are kept until the test reads them.
const REFUSALS: usize = 16;

const DENIED: &str = "nats_permission_denied";

/// A server with the configuration that we ship, and a key for each of its roles.
pub(crate) struct Shipped {
    pub(crate) nats: NatsServer,
    keys: PathBuf,
}

impl Shipped {
    async fn start(folder: &Path) -> Self {
        let keys = make_keys(folder, "keys").await;
        let public = std::fs::read_to_string(keys.join("keys.conf")).unwrap();
        Self { nats: NatsServer::start_shipped(&public).await.unwrap(), keys }
    }

    pub(crate) fn seed_file(&self, role: &str) -> PathBuf {
        self.keys.join(format!("{role}.nk"))
    }

    /// Runs `tickwell log WHAT` with a role's key. Returns its exit code and its output.
    pub(crate) async fn log(
        &self,
        folder: &Path,
        what: &str,
        role: &str,
        more: &[&str],
    ) -> (Option<i32>, String) {
        let (url, file) = (self.nats.url(), self.seed_file(role).display().to_string());
        let environment = [("TICKWELL__BUS__URL", url.as_str()), ("TICKWELL__BUS__CREDENTIALS_FILE", &file)];
        run(folder, &[&["log", what], more].concat(), &environment).await
    }

    /// Starts another server with the same keys and without a log.
    pub(crate) async fn another(&self) -> Self {
        let public = std::fs::read_to_string(self.keys.join("keys.conf")).unwrap();
        Self { nats: NatsServer::start_shipped(&public).await.unwrap(), keys: self.keys.clone() }
    }

    /// Connects with a role's key. Also returns a channel with the errors that the server sends on this connection.
    pub(crate) async fn connect(&self, role: &str) -> (Client, mpsc::Receiver<String>) {
        let seed = std::fs::read_to_string(self.seed_file(role)).unwrap().trim().to_owned();
        let (refused, refusals) = mpsc::channel(REFUSALS);
        // External subscribers use the default inbox of their NATS client.
        let inbox = if role == "feed" { "_INBOX".to_owned() } else { format!("_INBOX_{role}") };
        let options = ConnectOptions::with_nkey(seed).custom_inbox_prefix(inbox);
        let options = options.event_callback(move |event| {
            if let Event::ServerError(error) = event {
                let _gone = refused.try_send(error.to_string());
            }
            std::future::ready(())
        });
        (options.connect(self.nats.url()).await.unwrap(), refusals)
    }
}

/// Creates a key for each role in a directory with this name. Returns the path of the directory.
pub(crate) async fn make_keys(folder: &Path, name: &str) -> PathBuf {
    let (code, said) = run(folder, &["log", "keys", name], &[]).await;
    assert_eq!(code, Some(0), "{said}");
    folder.join(name)
}

/// Sources whose prices move, a server with the configuration that we ship, and a scene that uses both.
pub(crate) async fn stage() -> (FakeUpstream, Shipped, Scene) {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let shipped = Shipped::start(scene.folder()).await;
    let scene = scene.over(&shipped.nats);
    (upstream, shipped, scene)
}

/// Three servers with the configuration that we ship, a scene that uses them and these sources, and the directory of the
/// keys.
pub(crate) async fn three_servers(upstream: &FakeUpstream) -> (Scene, NatsCluster, PathBuf) {
    let scene = Scene::new(INTERVAL).asking(upstream).with("TICKWELL__BUS__REPLICAS", "3");
    let keys = make_keys(scene.folder(), "keys").await;
    let public = std::fs::read_to_string(keys.join("keys.conf")).unwrap();
    let cluster = NatsCluster::start_shipped(&public).await.unwrap();
    let scene = scene.with("TICKWELL__BUS__URL", &cluster.url());
    (scene, cluster, keys)
}

impl Scene {
    pub(crate) fn as_role(&self, role: &str, key: &Path) -> testkit::process::TickwellCommand {
        self.command(role).arg(role).env("TICKWELL__BUS__CREDENTIALS_FILE", key)
    }
}

/// Waits for a log line about a refusal of NATS that contains `what`.
async fn is_refused(process: &Tickwell, what: &str) {
    let line = |line: &str| has_event(line, DENIED) && line.contains(what);
    process.wait_for_line(line, DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_does_its_part_with_its_key() {
    require_nats!();
    let (_upstream, shipped, scene) = stage().await;
    let folder = scene.folder().to_owned();

    // A poller may not create the stream or the lease's bucket. If they do not exist, the poller logs which command
    // creates them, and continues once they exist.
    let poller = scene.as_role("poller", &shipped.seed_file("poller")).start().unwrap();
    let says_how = |line: &str| {
        ["STREAM.CREATE.KV_TICKS_lease", "ermissions Violation", "tickwell log apply"]
            .iter()
            .all(|part| line.contains(part))
    };
    poller.wait_for_line(says_how, DEADLINE).await.unwrap();
    let lease = ["--set", "bus.lease=60s"];
    let (code, said) = shipped.log(&folder, "verify", "admin", &lease).await;
    assert!(code == Some(1) && said.contains("TICKS: missing"), "{said}");
    let (code, said) = shipped.log(&folder, "apply", "admin", &lease).await;
    assert!(code == Some(0) && said.contains("KV_TICKS_lease: created"), "{said}");
    let (code, said) = shipped.log(&folder, "verify", "admin", &lease).await;
    assert!(code == Some(0) && said.contains("TICKS: ok"), "{said}");
    poller.wait_for_line(|line| has_event(line, "leading"), DEADLINE).await.unwrap();

    let pod = Pod::of(scene.as_role("api", &shipped.seed_file("api")).start().unwrap()).await;
    has_price(&pod).await;
    // A subscriber with the feed's key receives the same records as the pods.
    let (feed, _refusals) = shipped.connect("feed").await;
    let mut heard = feed.subscribe("ticks.>").await.unwrap();
    let message = tokio::time::timeout(DEADLINE, heard.next()).await.unwrap().unwrap();
    let record: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((message.subject.as_str(), &record["pair"]), ("ticks.BTC.USD", &"BTC-USD".into()));
    pod.takes_in(2).await;
    assert_eq!(pod.metric("tickwell_nats_denials_total").await, 0);
    audit(&records::all(&pod).await);

    // A seed must not appear anywhere except in its file.
    let config = [("TICKWELL__BUS__CREDENTIALS_FILE", shipped.seed_file("poller").display().to_string())];
    let config = config.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (_, settings) = run(&folder, &["config", "show"], &config).await;
    let output = [poller.lines().join("\n"), pod.process.lines().join("\n"), settings].concat();
    for role in ROLES {
        let seed = std::fs::read_to_string(shipped.seed_file(role)).unwrap();
        assert!(!output.contains(seed.trim()), "the seed of {role} is in the output");
    }
    assert!(output.contains("poller.nk"), "the path of the file may be shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_refuses_what_a_role_must_not_do() {
    require_nats!();
    let folder = tempfile::tempdir().unwrap();
    let shipped = Shipped::start(folder.path()).await;
    let (code, said) = shipped.log(folder.path(), "apply", "admin", &[]).await;
    assert_eq!(code, Some(0), "{said}");
    let publishing: [(&str, &[&str]); 5] = [
        (
            "poller",
            &[
                "$JS.API.STREAM.CREATE.OTHER",
                "$JS.API.STREAM.UPDATE.TICKS",
                "$JS.API.STREAM.DELETE.TICKS",
                "$JS.API.STREAM.PURGE.TICKS",
                "$JS.API.CONSUMER.CREATE.TICKS.mine.ticks.>",
                "$KV.TICKS_lease.other",
                "FEED.API.STREAM.INFO.TICKS",
                "TICKS_mirror.forged",
                "elsewhere",
            ],
        ),
        (
            "api",
            &[
                "ticks.BTC.USD",
                "$KV.TICKS_lease.poller",
                "$JS.API.STREAM.DELETE.TICKS",
                "$JS.API.STREAM.INFO.KV_TICKS_lease",
                "$JS.API.CONSUMER.CREATE.KV_TICKS_lease.mine.ticks.>",
                "$JS.API.CONSUMER.DELETE.TICKS.other",
                "FEED.API.STREAM.DELETE.TICKS",
            ],
        ),
        (
            "feed",
            &[
                "ticks.BTC.USD",
                "$KV.TICKS_lease.poller",
                "$JS.API.INFO",
                "$JS.API.STREAM.NAMES",
                "$JS.API.STREAM.CREATE.TICKS",
                "$JS.API.STREAM.UPDATE.TICKS",
                "$JS.API.STREAM.DELETE.TICKS",
                "$JS.API.STREAM.PURGE.TICKS",
                "$JS.API.STREAM.MSG.DELETE.TICKS",
                "$JS.API.STREAM.SNAPSHOT.TICKS",
                "$JS.API.CONSUMER.CREATE.KV_TICKS_lease",
                "$JS.API.CONSUMER.DURABLE.CREATE.TICKS.mine",
                "$JS.API.CONSUMER.DELETE.TICKS.other",
                "LOG.API.CONSUMER.CREATE.TICKS",
                "FEED.API.STREAM.DELETE.TICKS",
                "TICKS_mirror.forged",
            ],
        ),
        (
            "admin",
            &[
                "ticks.BTC.USD",
                "$KV.TICKS_lease.poller",
                "$JS.API.STREAM.CREATE.OTHER",
                "$JS.API.STREAM.DELETE.TICKS",
                "$JS.API.STREAM.MSG.GET.TICKS",
                "$JS.API.STREAM.SNAPSHOT.TICKS",
                "$JS.API.STREAM.RESTORE.TICKS",
                "$JS.API.CONSUMER.CREATE.TICKS.mine.ticks.>",
                "FEED.API.STREAM.PURGE.TICKS",
                "FEED.API.CONSUMER.CREATE.TICKS",
                "TICKS_mirror.forged",
            ],
        ),
        (
            "maintenance",
            &[
                "ticks.BTC.USD",
                "$KV.TICKS_lease.other",
                "$JS.API.STREAM.CREATE.TICKS",
                "$JS.API.STREAM.PURGE.TICKS",
                "$JS.API.STREAM.RESTORE.OTHER",
                "$JS.API.STREAM.DELETE.KV_TICKS_lease",
                "$JS.API.CONSUMER.CREATE.TICKS.mine.ticks.>",
                "FEED.API.STREAM.DELETE.TICKS",
            ],
        ),
    ];
    let subscribing: [(&str, &[&str]); 5] = [
        ("poller", &["ticks.>", "_INBOX_api.>"]),
        ("api", &["ticks.>", "_INBOX_poller.>", "$KV.>"]),
        ("feed", &[">", "_INBOX_api.>", "$KV.>", "TICKS_mirror.>", "$JS.>"]),
        ("admin", &["ticks.>", "_INBOX_poller.>"]),
        ("maintenance", &["ticks.>", "_INBOX_admin.>", "$KV.>"]),
    ];
    for ((role, publishing), (_, subscribing)) in publishing.into_iter().zip(subscribing) {
        let (client, mut refusals) = shipped.connect(role).await;
        for subject in publishing {
            client.publish(*subject, "{}".into()).await.unwrap();
            expect_refusal(&mut refusals, role, &format!("Publish to \"{subject}\"")).await;
        }
        for subject in subscribing {
            let _subscription = client.subscribe(*subject).await.unwrap();
            expect_refusal(&mut refusals, role, &format!("Subscription to \"{subject}\"")).await;
        }
    }
    // A pod that is far behind sends this request, so it must be allowed.
    let (pod, _refusals) = shipped.connect("api").await;
    let answer = pod.request("$JS.API.DIRECT.GET.TICKS", r#"{"seq":1}"#.into()).await.unwrap();
    assert_eq!(answer.status, Some(async_nats::StatusCode::NOT_FOUND), "{answer:?}");
    // None of the refused requests has changed anything.
    let (code, said) = shipped.log(folder.path(), "verify", "admin", &[]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_with_the_shipped_configuration_are_one_log() {
    require_nats!();
    let upstream = moving_upstream(INTERVAL).await;
    let (scene, mut cluster, keys) = three_servers(&upstream).await;
    let (url, admin) = (cluster.url(), keys.join("admin.nk").display().to_string());
    let environment = [("TICKWELL__BUS__URL", url.as_str()), ("TICKWELL__BUS__CREDENTIALS_FILE", &admin)];
    let log = async |arguments: &[&str]| {
        let replicas = ["--set", "bus.lease=60s", "--set"];
        run(scene.folder(), &[&["log"], arguments, &replicas, &["bus.replicas=3"]].concat(), &environment)
            .await
    };
    // The stream is created with one replica, and then changed to three.
    let (code, said) = run(scene.folder(), &["log", "apply"], &environment).await;
    assert!(code == Some(0) && said.contains("TICKS: created"), "{said}");
    let (code, said) = log(&["verify"]).await;
    assert!(code == Some(1) && said.contains("num_replicas is 1"), "{said}");
    let (code, said) = log(&["apply"]).await;
    assert!(code == Some(0) && said.contains("corrected: max_age is 5s"), "{said}");
    assert_eq!(log(&["verify"]).await.0, Some(0));

    let poller = scene.as_role("poller", &keys.join("poller.nk")).start().unwrap();
    poller.wait_for_line(|line| has_event(line, "leading"), DEADLINE).await.unwrap();
    let pod = Pod::of(scene.as_role("api", &keys.join("api.nk")).start().unwrap()).await;
    has_price(&pod).await;
    for number in 0..2 {
        cluster.nodes[number].kill();
        pod.takes_in(4).await;
        cluster.nodes[number].restart().await.unwrap();
        pod.takes_in(4).await;
    }
    assert_eq!(pod.metric("tickwell_nats_denials_total").await, 0);
    assert!(!poller.lines().iter().any(|line| has_event(line, DENIED)));
    audit(&records::all(&pod).await);
}

async fn expect_refusal(refusals: &mut mpsc::Receiver<String>, role: &str, what: &str) {
    let refusal = tokio::time::timeout(DEADLINE, refusals.recv()).await;
    let refusal = refusal.unwrap_or_else(|_| panic!("{role}: {what} was not refused"));
    // The refusal contains the server's description of the request.
    assert!(refusal.as_ref().is_some_and(|it| it.contains(what)), "{role}: {what}: {refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_the_key_of_another_role_reports_the_missing_right() {
    require_nats!();
    let (_upstream, shipped, scene) = stage().await;
    let folder = scene.folder().to_owned();
    for role in ["poller", "api", "feed"] {
        for what in ["apply", "verify"] {
            let (code, said) = shipped.log(&folder, what, role, &[]).await;
            assert!(code == Some(1) && said.contains("ermissions Violation"), "log {what} as {role}: {said}");
        }
    }
    let (code, said) = shipped.log(&folder, "apply", "admin", &[]).await;
    assert_eq!(code, Some(0), "{said}");

    let poller = scene.as_role("poller", &shipped.seed_file("api")).start().unwrap();
    is_refused(&poller, "_INBOX_poller").await;
    // This poller has the key of a pod, with which it cannot find out whether the stream exists.
    let cannot_know = |line: &str| field(line, "event").is_some_and(|event| event == "stream_unknown");
    poller.wait_for_line(cannot_know, DEADLINE).await.unwrap();
    let pod = scene.as_role("api", &shipped.seed_file("poller")).start().unwrap();
    is_refused(&pod, "_INBOX_api").await;
    let unready = |line: &str| has_event(line, "unready") && line.contains("_INBOX_api");
    pod.wait_for_line(unready, DEADLINE).await.unwrap();

    // A process whose key the server does not know exits at once.
    let stranger = make_keys(&folder, "strangers").await.join("poller.nk");
    let mut stranger = scene.as_role("poller", &stranger).start().unwrap();
    assert!(!stranger.wait_exit(DEADLINE).await.unwrap().success());
    let said = stranger.lines().join("\n");
    assert!(said.contains("bus.credentials_file") && said.contains("poller.nk"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_replaced_without_a_restart() {
    require_nats!();
    let (_upstream, mut shipped, scene) = stage().await;
    let folder = scene.folder().to_owned();
    let (code, said) = shipped.log(&folder, "apply", "admin", &["--set", "bus.lease=60s"]).await;
    assert_eq!(code, Some(0), "{said}");
    let poller = scene.as_role("poller", &shipped.seed_file("poller")).start().unwrap();
    let pod = Pod::of(scene.as_role("api", &shipped.seed_file("api")).start().unwrap()).await;
    has_price(&pod).await;

    // Replace the files first, then the keys of the server. Both processes reconnect with their new keys.
    let new = make_keys(&folder, "new").await;
    for role in ["poller", "api"] {
        std::fs::copy(new.join(format!("{role}.nk")), shipped.seed_file(role)).unwrap();
    }
    let old_public = std::fs::read_to_string(shipped.keys.join("keys.conf")).unwrap();
    let new_public = std::fs::read_to_string(new.join("keys.conf")).unwrap();
    shipped.nats.configure_keys(&new_public).unwrap();
    let is_back = |process: &Tickwell| {
        process.lines().iter().filter(|line| has_event(line, "nats_connection_up")).count() > 1
    };
    let both_back = async || (is_back(&poller) && is_back(&pod.process)).then_some(());
    wait_until("both processes reconnect", DEADLINE, both_back).await;
    pod.takes_in(4).await;
    is_well(&pod).await;

    // If the server's keys are replaced first, a process reports the problem until its own key is valid.
    shipped.nats.configure_keys(&old_public).unwrap();
    is_in_trouble(&pod, "refused", "uthorization").await;
    shipped.nats.configure_keys(&new_public).unwrap();
    is_well(&pod).await;
    pod.takes_in(4).await;
    let findings = audit(&records::all(&pod).await);
    assert_eq!(findings.leaders, 1, "{findings:?}");
}
