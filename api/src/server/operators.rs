//! Protects the admin listener from web pages. It needs no key, so a page that an operator opens in a browser could
//! otherwise use it: the browser can reach addresses that its user can reach.

use std::net::IpAddr;

use http::{HeaderName, header};
use poem::{Endpoint, Request, Response, Result};

use super::origins::{Origins, Sender};
use crate::{
    config::ApiConfig,
    layers::SharedEndpoint,
    problem::{Code, Problem},
};

/// The header in which browsers say how the page that sends a request is related to the server.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The values of that header for requests of the server's own pages, and for addresses that the user has typed.
const OWN: [&[u8]; 2] = [b"same-origin", b"none"];

/// Refuses requests of pages of other origins. On a loopback address, also refuses requests for other hosts: a page can
/// give its own host name the address of this machine, so that it counts as the origin.
pub(super) async fn refuse_pages(next: SharedEndpoint, request: Request) -> Result<Response> {
    let site = request.headers().get(FETCH_SITE);
    let is_foreign = site.is_some_and(|site| !OWN.contains(&site.as_bytes()))
        || Origins::new(&ApiConfig::default()).sender(&request) == Sender::Foreign;
    if is_foreign {
        let detail = "the admin listener does not allow requests of web pages of other origins";
        return Err(Problem::new(Code::OriginNotAllowed, detail).into());
    }
    let listens_at = request.local_addr().as_socket_addr().map(|address| address.ip().to_canonical());
    if listens_at.is_some_and(|address| address.is_loopback()) && !is_for_this_machine(&request) {
        let detail =
            "on a loopback address, the admin listener only allows the hosts localhost, 127.0.0.1 and [::1]";
        return Err(Problem::new(Code::OriginNotAllowed, detail).into());
    }
    next.call(request).await
}

/// Whether the request is for a name of this machine. HTTP/1.0 clients may send no host.
fn is_for_this_machine(request: &Request) -> bool {
    let Some(host) = request.headers().get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}
