//! `tickwell healthcheck`: whether the process in this container lives, for images that have no shell and no curl.
//!
//! Liveness, unless asked for readiness: who acts on a container's health check starts the container anew, and
//! that helps one that hangs, but not one that waits for its log or catches up with it.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use api::{AdminConfig, ApiConfig};
use clap::Args;
use serde_json::Value;

use crate::{
    pod::{PodClient, Response, StatusCode, text},
    settings::{self, SettingsLayers},
    show,
};

/// How long the process may take to answer. Shorter than what container engines allow a check, so that they show
/// our reason and not theirs.
const PATIENCE: Duration = Duration::from_secs(3);

/// Of which process, and what.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArguments {
    /// Whether it should get requests, and not only whether it lives
    #[arg(long)]
    ready: bool,

    /// The address of the process, such as http://127.0.0.1:8080; that of the settings, if absent
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Asks once. An error if the process does not answer, or is not well.
pub(crate) fn run(arguments: &HealthcheckArguments, layers: SettingsLayers) -> Result<()> {
    let url = match &arguments.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let settings = settings::load_log(layers, false)?;
            own_url(&settings.api, &settings.admin)?
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(ask(&url, arguments.ready))
}

/// Where the process of these settings answers its operators. Its own listener for them comes first: a poller
/// has no other, and clients cannot take all of its connections.
fn own_url(api: &ApiConfig, admin: &AdminConfig) -> Result<String> {
    let (name, address) = match (admin.listen.get(), api.listen.get()) {
        (Some(address), _) => ("admin.listen", address),
        (None, Some(address)) => ("api.listen", address),
        (None, None) => bail!("neither admin.listen nor api.listen names an address: say which with --url"),
    };
    ensure!(
        !address.ends_with(":0"),
        "{name} is {address}: the process picked a port of its own; name it with --url"
    );
    Ok(match address.parse::<SocketAddr>() {
        Ok(any) if any.ip().is_unspecified() => {
            let host = if any.is_ipv4() { "127.0.0.1" } else { "[::1]" };
            format!("http://{host}:{}", any.port())
        }
        _ => format!("http://{address}"),
    })
}

async fn ask(url: &str, ready: bool) -> Result<()> {
    let path = if ready { "/readyz?verbose" } else { "/livez" };
    let answer = PodClient::get_here(url, path, PATIENCE).await?;
    match answer.status {
        StatusCode::OK => show::print(&format!("{url} is {}\n", if ready { "ready" } else { "alive" })),
        StatusCode::SERVICE_UNAVAILABLE if ready => bail!("{url} is not ready: {}", lacking(&answer)),
        status => bail!("{url} answers {path} with {status}: is that a Tickwell process?"),
    }
}

/// The checks that fail, and why.
fn lacking(answer: &Response) -> String {
    let report = answer.object();
    let checks = report.get("checks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let unready =
        checks.iter().filter_map(Value::as_object).filter(|check| text(check, "condition") == "unready");
    unready
        .map(|check| format!("{}: {}", text(check, "name"), text(check, "reason")))
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(api: &str, admin: &str) -> Result<String> {
        let api = ApiConfig { listen: api.parse().unwrap(), ..ApiConfig::default() };
        own_url(&api, &AdminConfig { listen: admin.parse().unwrap() })
    }

    #[test]
    fn the_process_is_asked_where_it_answers_operators() {
        for (api, admin, url) in [
            ("127.0.0.1:8080", "", "http://127.0.0.1:8080"),
            ("0.0.0.0:8080", "", "http://127.0.0.1:8080"),
            ("0.0.0.0:8080", "0.0.0.0:9090", "http://127.0.0.1:9090"),
            ("", "[::]:9090", "http://[::1]:9090"),
            ("pod.internal:80", "", "http://pod.internal:80"),
            ("10.1.2.3:8080", "", "http://10.1.2.3:8080"),
        ] {
            assert_eq!(found(api, admin).unwrap(), url);
        }
    }

    #[test]
    fn an_address_that_nobody_knows_is_an_error_that_says_what_to_do() {
        for (api, admin) in [("127.0.0.1:0", ""), ("127.0.0.1:8080", "0.0.0.0:0"), ("", "")] {
            let error = found(api, admin).unwrap_err().to_string();
            assert!(error.contains("--url"), "{error}");
        }
    }
}
