//! `tickwell healthcheck`: checks whether the process in this container is alive, for images without a shell and curl.
//!
//! By default, the command checks liveness and not readiness, because container engines may restart a container whose
//! health check fails. A restart helps a process that hangs, but not one that waits for the log or is still reading
//! the log.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, bail, ensure};
use api::{AdminConfig, ApiConfig};
use clap::Args;
use serde_json::{Map, Value};

use crate::{
    pod::{PodClient, Response, StatusCode, text},
    runtime,
    settings::{self, SettingsLayers},
    show,
};

/// How long the process may take to respond. This is shorter than the usual timeout of container engines, so that they
/// show our reason instead of their timeout.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which process to check, and for what.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArguments {
    /// Check whether the process is ready for requests and, if it is a pod, whether it has ever had a price; not only
    /// whether it is alive
    #[arg(long)]
    ready: bool,

    /// The address of the process, such as http://127.0.0.1:8080. If not given: the one in admin.listen or, if that is
    /// empty, in api.listen
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Sends one request. Fails if the process does not respond, is not alive or, with `--ready`, is not ready.
pub(crate) fn run(arguments: &HealthcheckArguments, layers: SettingsLayers) -> Result<()> {
    let url = match &arguments.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let settings = settings::load_log(layers, false)?;
            own_url(&settings.api, &settings.admin)?
        }
    };
    runtime::block_on(ask(&url, arguments.ready))
}

/// The address at which the health of a process with these settings can be checked. The admin listener is preferred:
/// it is a poller's only listener, and clients of the API cannot use up its connections.
fn own_url(api: &ApiConfig, admin: &AdminConfig) -> Result<String> {
    let (name, address) = match (admin.listen.get(), api.listen.get()) {
        (Some(address), _) => ("admin.listen", address),
        (None, Some(address)) => ("api.listen", address),
        (None, None) => {
            bail!("neither admin.listen nor api.listen is set; give the address of the process with --url")
        }
    };
    ensure!(
        !address.ends_with(":0"),
        "{name}: {address} lets the process pick a free port; give the address of the process with --url, or set {name} \
         to a fixed port"
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
    let response = PodClient::get_here(url, path, PATIENCE).await?;
    match response.status {
        StatusCode::OK if ready && !no_price(&response).is_empty() => {
            bail!("{url} is ready for requests, but has no price: {}", no_price(&response))
        }
        StatusCode::OK => show::print(&format!("{url} is {}\n", if ready { "ready" } else { "alive" })),
        StatusCode::SERVICE_UNAVAILABLE if ready => {
            bail!("{url} is not ready: {}", unready_checks(&response))
        }
        status => bail!(
            "{url} responds to {path} with {status}; check that a Tickwell process listens at that address"
        ),
    }
}

/// The failing checks with their reasons.
fn unready_checks(response: &Response) -> String {
    reasons(response, |check| text(check, "condition") == "unready")
}

/// Why a pod has never had a price; empty if it has had one. Such a pod is ready for a load balancer, because its responses
/// say what is missing, but it fails the check of an operator who waits for a working feed.
fn no_price(response: &Response) -> String {
    reasons(response, |check| text(check, "name") == "prices" && text(check, "condition") != "ready")
}

/// The reasons of the checks that `is_meant`.
fn reasons(response: &Response, is_meant: impl Fn(&Map<String, Value>) -> bool) -> String {
    let report = response.object();
    let checks = report.get("checks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let meant = checks.iter().filter_map(Value::as_object).filter(|check| is_meant(check));
    let reasons = meant.map(|check| format!("{}: {}", text(check, "name"), text(check, "reason")));
    reasons.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(api: &str, admin: &str) -> Result<String> {
        let api = ApiConfig { listen: api.parse().unwrap(), ..ApiConfig::default() };
        own_url(&api, &AdminConfig { listen: admin.parse().unwrap() })
    }

    #[test]
    fn the_admin_listener_is_asked_before_the_api() {
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
    fn an_unknown_address_is_an_error_with_a_remedy() {
        for (api, admin) in [("127.0.0.1:0", ""), ("127.0.0.1:8080", "0.0.0.0:0"), ("", "")] {
            let error = found(api, admin).unwrap_err().to_string();
            assert!(error.contains("--url"), "{error}");
        }
    }
}
