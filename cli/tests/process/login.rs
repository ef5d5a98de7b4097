//! Logging in to a NATS server with a user name and a password, and a NATS server with too little storage.

use async_nats::jetstream;
use testkit::{nats::NatsServer, require_nats};

use crate::{
    commands::run,
    harness::{DEADLINE, INTERVAL, Pod, Scene, has_event, has_price, moving_upstream},
    nats_stream::is_in_trouble,
};

/// A password with characters that mean something in a URL.
const PASSWORD: &str = "p@ss:w/r?d#1,%é \"+";

/// [`PASSWORD`] in a URL.
const ENCODED: &str = "p%40ss%3Aw%2Fr%3Fd%231%2C%25%C3%A9%20%22%2B";

/// The size limit of the stream in `nats/stream.json`.
const LOG_BYTES: &str = "max_bytes = 17179869184 (16 GiB)";

/// The configuration of a server with one user.
fn with_password(password: &str) -> String {
    let password = password.replace('"', "\\\"");
    format!("authorization {{ users: [ {{ user: \"te am\", password: \"{password}\" }} ] }}\n")
}

async fn server(password: &str) -> NatsServer {
    let mut nats = NatsServer::start().await.unwrap();
    nats.configure(&with_password(password)).unwrap();
    nats.restart().await.unwrap();
    nats
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_name_and_a_password_may_have_any_characters() {
    require_nats!();
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let mut nats = server(PASSWORD).await;
    let file = scene.folder().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let file = file.display().to_string();
    let plain = nats.url();
    let with_login = |login: &str| plain.replace("//", &format!("//{login}@"));
    let apply = async |settings: &[(&str, &str)]| run(scene.folder(), &["log", "apply"], settings).await;

    let url = with_login(&format!("te%20am:{ENCODED}"));
    let (code, said) = apply(&[("TICKWELL__BUS__URL", &url)]).await;
    assert_eq!(code, Some(0), "{said}");
    let in_file = [
        ("TICKWELL__BUS__URL", plain.as_str()),
        ("TICKWELL__BUS__USER", "te am"),
        ("TICKWELL__BUS__PASSWORD_FILE", &file),
    ];
    let (code, said) = apply(&in_file).await;
    assert_eq!(code, Some(0), "{said}");

    // What the server refuses is named, without the secret.
    let wrong = scene.folder().join("wrong");
    std::fs::write(&wrong, "secret").unwrap();
    let wrong = wrong.display().to_string();
    for (settings, expected) in [
        (
            vec![("TICKWELL__BUS__URL", with_login("te%20am:secret"))],
            "refused the password of the user `te am`",
        ),
        (vec![("TICKWELL__BUS__URL", with_login("secret"))], "refused the token"),
        (vec![("TICKWELL__BUS__URL", plain.clone())], "bus.user and bus.password_file"),
        (
            vec![
                ("TICKWELL__BUS__URL", plain.clone()),
                ("TICKWELL__BUS__USER", "te am".to_owned()),
                ("TICKWELL__BUS__PASSWORD_FILE", wrong),
            ],
            "bus.password_file: NATS",
        ),
        (vec![("TICKWELL__BUS__URL", with_login("te%20am:secret%"))], "write `%` as `%25`"),
        (vec![("TICKWELL__BUS__URL", with_login("te am:secret/1"))], "percent-encoded"),
    ] {
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (code, said) = apply(&settings).await;
        assert!(code == Some(1) && said.contains(expected), "{expected}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }

    // Services log in with both forms. The password's file is read again when they reconnect.
    let poller = scene.command("poller").arg("poller").env("TICKWELL__BUS__URL", &url).start().unwrap();
    poller.wait_for_line(|line| has_event(line, "leading"), DEADLINE).await.unwrap();
    let pod = in_file.iter().fold(scene.command("pod").arg("api"), |pod, (name, value)| pod.env(name, value));
    let pod = Pod::of(pod.start().unwrap()).await;
    has_price(&pod).await;
    nats.configure(&with_password("new")).unwrap();
    is_in_trouble(&pod, "refused", "refused the password in bus.password_file").await;
    std::fs::write(&file, "new").unwrap();
    pod.process.wait_for_line(|line| has_event(line, "nats_permission_denied"), DEADLINE).await.unwrap();
    crate::nats_stream::is_well(&pod).await;
    let refused = |line: &str| {
        has_event(line, "nats_permission_denied")
            && line.contains("refused the user name and password in bus.url")
    };
    poller.wait_for_line(refused, DEADLINE).await.unwrap();
    for line in poller.lines().iter().chain(&pod.process.lines()) {
        assert!(!line.contains("p@ss") && !line.contains("p%40ss"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jetstream_that_is_too_small_names_the_bytes_that_are_needed() {
    require_nats!();
    let upstream = moving_upstream(INTERVAL).await;
    let mut nats = NatsServer::start().await.unwrap();
    nats.configure("jetstream { max_file_store: 1GB }\n").unwrap();
    nats.restart().await.unwrap();
    let scene = Scene::new(INTERVAL).asking(&upstream).over(&nats);
    let poller = scene.command("poller").arg("poller").start().unwrap();
    let explained = |line: &str| {
        has_event(line, "stream_missing") && line.contains(LOG_BYTES) && line.contains("max_file_store")
    };
    poller.wait_for_line(explained, DEADLINE).await.unwrap();
    let (code, said) = run(scene.folder(), &["log", "apply"], &[("TICKWELL__BUS__URL", &nats.url())]).await;
    assert!(code == Some(1) && said.contains(LOG_BYTES) && said.contains("max_file_store"), "{said}");

    // The poller continues as soon as there is enough room.
    nats.configure("").unwrap();
    nats.restart().await.unwrap();
    poller.wait_for_line(|line| has_event(line, "leading"), DEADLINE).await.unwrap();

    // The limit of an account is reported in the same way.
    let mut nats = NatsServer::start().await.unwrap();
    let user = "users: [ { user: a, password: b } ]";
    nats.configure(&format!("accounts {{ A {{ jetstream {{ max_file: 1GB }}, {user} }} }}\n")).unwrap();
    nats.restart().await.unwrap();
    let url = nats.url().replace("//", "//a:b@");
    let (code, said) = run(scene.folder(), &["log", "apply"], &[("TICKWELL__BUS__URL", &url)]).await;
    assert!(
        code == Some(1) && said.contains(LOG_BYTES) && said.contains("max_file of the account"),
        "{said}"
    );
    let client = async_nats::ConnectOptions::with_user_and_password("a".into(), "b".into());
    let client = client.connect(nats.url()).await.unwrap();
    assert!(jetstream::new(client).get_stream("TICKS").await.is_err());
}
