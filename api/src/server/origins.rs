//! Which web pages may send requests: those of the pod's own origin, and those of the origins in `api.cors_origins`.
//!
//! Browsers name the origin of a page in the header `Origin` if the page is from elsewhere, and for every WebSocket.
//! Programs that are not browsers do not send it. There are no cookies, so a page has no more rights than any program:
//! it must have a key if the pod requires one.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use poem::Request;

use crate::config::{ApiConfig, Network, WebOrigin};

/// The header in which a proxy puts the host that the client has asked for.
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// How many refused origins are logged at most.
const MAX_LOGGED: usize = 100;

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// A page of the pod's own origin, or a program.
    Own,
    /// A page of another origin, which the settings allow.
    Listed,
    /// A page of another origin.
    Foreign,
}

/// Decides about origins.
pub(super) struct Origins {
    listed: Vec<WebOrigin>,
    proxies: Vec<Network>,
    /// The refused origins that were logged.
    logged: Mutex<BTreeSet<String>>,
}

impl Origins {
    pub(super) fn new(config: &ApiConfig) -> Self {
        let (listed, proxies) = (config.cors_origins.clone(), config.trusted_proxies.clone());
        Self { listed, proxies, logged: Mutex::default() }
    }

    /// Whether pages of all origins are allowed.
    pub(super) fn allow_any(&self) -> bool {
        self.listed.iter().any(WebOrigin::is_any)
    }

    pub(super) fn sender(&self, request: &Request) -> Sender {
        let remote = request.remote_addr().as_socket_addr().map(SocketAddr::ip);
        self.sender_at(remote, request.headers())
    }

    fn sender_at(&self, remote: Option<IpAddr>, headers: &HeaderMap) -> Sender {
        let Some(origin) = headers.get(header::ORIGIN) else { return Sender::Own };
        let is_listed = |listed: &WebOrigin| listed.as_str().as_bytes() == origin.as_bytes();
        if self.allow_any() || self.listed.iter().any(is_listed) {
            return Sender::Listed;
        }
        let is_proxy =
            |remote: IpAddr| self.proxies.iter().any(|proxy| proxy.contains(remote.to_canonical()));
        let hosts = hosts(headers, remote.is_some_and(is_proxy));
        let is_own = origin.to_str().is_ok_and(|origin| hosts.into_iter().any(|host| is_at(origin, host)));
        if is_own { Sender::Own } else { Sender::Foreign }
    }

    /// Logs that a page was refused, once per origin.
    pub(super) fn log(&self, origin: &HeaderValue) {
        let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < MAX_LOGGED && logged.insert(origin.clone()) {
            tracing::warn!(
                event = "origin_refused",
                origin,
                setting = "api.cors_origins",
                "refused a web page of another origin; to allow its requests, add the origin to api.cors_origins. If it is \
                 this pod's own origin, its proxy must pass the header Host on, or X-Forwarded-Host and be in \
                 api.trusted_proxies"
            );
        }
    }
}

/// The hosts by which the client may know this pod.
fn hosts(headers: &HeaderMap, is_from_proxy: bool) -> Vec<&str> {
    let forwarded = headers.get_all(FORWARDED_HOST).into_iter().filter(|_| is_from_proxy);
    let hosts = headers.get(header::HOST).into_iter().chain(forwarded);
    hosts.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).map(str::trim).collect()
}

/// Whether an origin is that of the pages at a host. A proxy may have ended TLS, so the scheme cannot be compared.
fn is_at(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let host = host.strip_suffix(port).unwrap_or(host);
    !host.is_empty() && host.eq_ignore_ascii_case(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(listed: &[&str], from: &str, headers: &[(&'static str, &str)]) -> Sender {
        let config = ApiConfig {
            cors_origins: listed.iter().map(|text| text.parse().unwrap()).collect(),
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..ApiConfig::default()
        };
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            sent.append(*name, value.parse().unwrap());
        }
        Origins::new(&config).sender_at(Some(from.parse().unwrap()), &sent)
    }

    #[test]
    fn a_page_is_the_pods_own_if_its_origin_has_the_host_of_the_request() {
        use Sender::{Foreign, Listed, Own};
        let client = "1.2.3.4";
        for (origin, host, expected) in [
            ("http://pod:8080", "pod:8080", Own),
            ("https://Pod.example", "pod.example", Own),
            ("https://pod.example", "pod.example:443", Own),
            ("http://[::1]:8080", "[::1]:8080", Own),
            ("http://pod", "pod:443", Foreign),
            ("http://pod:8081", "pod:8080", Foreign),
            ("http://pod.example.org", "pod.example", Foreign),
            ("null", "null", Foreign),
            ("http://", "", Foreign),
            ("file://pod", "pod", Foreign),
            ("http://one.example", "pod", Listed),
        ] {
            let listed = ["http://one.example"];
            assert_eq!(sender(&listed, client, &[("origin", origin), ("host", host)]), expected, "{origin}");
            assert_eq!(sender(&["*"], client, &[("origin", origin), ("host", host)]), Listed);
            assert_eq!(sender(&[], client, &[("host", host)]), Own);
        }
    }

    #[test]
    fn only_a_trusted_proxy_can_name_the_host() {
        let headers = [
            ("origin", "https://site.example"),
            ("host", "pod:8080"),
            ("x-forwarded-host", "a, site.example"),
        ];
        assert_eq!(sender(&[], "10.1.1.1", &headers), Sender::Own);
        assert_eq!(sender(&[], "1.2.3.4", &headers), Sender::Foreign);
    }

    #[test]
    fn each_refused_origin_is_logged_once_up_to_a_limit() {
        let origins = Origins::new(&ApiConfig::default());
        for number in 0..2 * MAX_LOGGED {
            origins.log(&HeaderValue::from_str(&format!("http://{}", number / 2 * 2)).unwrap());
        }
        assert_eq!(origins.logged.lock().unwrap().len(), MAX_LOGGED);
        origins.log(&HeaderValue::from_static("http://another"));
        assert_eq!(origins.logged.lock().unwrap().len(), MAX_LOGGED);
    }
}
