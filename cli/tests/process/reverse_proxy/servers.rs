//! Reverse proxies as processes, with the configurations of `docs/proxies.md`.

use std::{path::Path, process::Stdio};

use tempfile::TempDir;
use testkit::wait_until;
use tokio::process::{Child, Command};

use crate::{
    harness::DEADLINE,
    tools::{caddy, code_blocks, nginx},
};

/// The prefix in the configurations of the documentation.
pub(super) const PREFIX: &str = "/prices";

/// The page with the configurations.
const PAGE: &str = "docs/proxies.md";

/// What nginx needs around a file of `conf.d` to run without root and in a directory of its own.
const NGINX: &str = "
daemon off;
master_process off;
pid FOLDER/pid;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    include FOLDER/tickwell.conf;
}
";

/// A running proxy. Dropping it kills the process.
pub(super) struct Proxy {
    /// The address at which the proxy serves the pod, with the prefix and without a slash at the end.
    pub(super) url: String,
    _process: Child,
    _folder: TempDir,
}

impl Proxy {
    /// nginx in front of a pod. `None` if it is not installed.
    pub(super) async fn nginx(pod: &str) -> Option<Self> {
        let server = format!("server {};", host(pod));
        Self::nginx_with(&replaced(&configuration("nginx"), "server 127.0.0.1:8080;", &server)).await
    }

    /// nginx in front of a pod, with the default of every setting.
    pub(super) async fn nginx_with_defaults(pod: &str) -> Option<Self> {
        let location = format!("location {PREFIX}/ {{ proxy_pass {pod}/; }}");
        Self::nginx_with(&format!("server {{ listen 80; {location} }}")).await
    }

    async fn nginx_with(config: &str) -> Option<Self> {
        let program = nginx()?;
        let proxy = Self::start(|folder, port| {
            let config = replaced(config, "listen 80;", &format!("listen 127.0.0.1:{port};"));
            std::fs::write(folder.join("tickwell.conf"), config).unwrap();
            let main = folder.join("nginx.conf");
            std::fs::write(&main, NGINX.replace("FOLDER", folder.to_str().unwrap())).unwrap();
            let mut command = Command::new(&program);
            command.arg("-p").arg(folder).arg("-c").arg(main).args(["-e", "stderr"]);
            command
        });
        Some(proxy.await)
    }

    /// Caddy in front of a pod. `None` if it is not installed.
    pub(super) async fn caddy(pod: &str) -> Option<Self> {
        let program = caddy()?;
        let proxy = Self::start(|folder, port| {
            let config = replaced(&configuration("caddy"), "127.0.0.1:8080", host(pod));
            let config = replaced(&config, "example.org {", &format!("http://127.0.0.1:{port} {{"));
            let file = folder.join("Caddyfile");
            std::fs::write(&file, format!("{{\nadmin off\n}}\n{config}")).unwrap();
            let mut command = Command::new(&program);
            command.arg("run").arg("--adapter").arg("caddyfile").arg("--config").arg(file);
            command.env("HOME", folder);
            command
        });
        Some(proxy.await)
    }

    /// Starts a proxy, and waits until it serves. A port that was free may be taken before the proxy listens on it, so
    /// the proxy is started again if it exits.
    async fn start(command: impl Fn(&Path, u16) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        loop {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let url = format!("http://127.0.0.1:{port}{PREFIX}");
            let mut command = command(folder.path(), port);
            let mut process = command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
            let is_there = wait_until("the proxy serves or exits", DEADLINE, async || {
                if process.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                let response = client.get(format!("{url}/livez")).send().await.ok()?;
                (response.status() == 200).then_some(true)
            });
            if is_there.await {
                return Self { url, _process: process, _folder: folder };
            }
        }
    }
}

/// The only block of code in this language on the page.
fn configuration(language: &str) -> String {
    let mut blocks = code_blocks(PAGE, language);
    assert_eq!(blocks.len(), 1, "{PAGE} has one configuration in {language}");
    blocks.remove(0)
}

/// Replaces a part that the text must have exactly once.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` in {text}");
    text.replace(from, to)
}

fn host(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}
