//! Identifies clients, by API key or by address.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use common::clock::Clock;
use http::{HeaderMap, HeaderName, header};
use poem::Request;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    config::{ClientKey, Network},
    routes::{
        coingecko::sent_keys,
        tickets::{self, KeyDigest},
    },
};

const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// How many keys of one request are checked at most. Further ones are ignored.
const MAX_SENT_KEYS: usize = 4;

/// The header in which most proxies put the client's address. If it is missing, the standard header `Forwarded` is
/// used.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The prefix length of the IPv6 networks that count as one client each. A provider usually gives each customer at
/// least one such network.
const CUSTOMER_BITS: u32 = 64;

/// A client, for rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// The holder of a key, by its index in the settings.
    Key(usize),
    /// A client without a key, by its address.
    Address(IpAddr),
}

/// The keys and trusted proxies that clients are identified by.
pub(super) struct Clients {
    pub(super) keys: Vec<ClientKey>,
    pub(super) proxies: Vec<Network>,
    /// Decides whether a ticket has ended.
    pub(super) clock: Arc<dyn Clock>,
}

impl Clients {
    /// The client of a request. `None` if the request has no valid key and the connection has no address.
    pub(super) fn of(&self, request: &Request) -> Option<Client> {
        if let Some(key) = self.key(request) {
            return Some(Client::Key(key));
        }
        let remote = request.remote_addr().as_socket_addr().map(SocketAddr::ip)?;
        Some(Client::Address(customer(self.behind_proxies(remote.to_canonical(), request.headers()))))
    }

    /// The index of the configured key that a request sends, or that its ticket was made from. All keys are compared in constant time, so that the time
    /// taken reveals nothing about the keys.
    fn key(&self, request: &Request) -> Option<usize> {
        if self.keys.is_empty() {
            return None;
        }
        let headers = request.headers();
        let bearers = headers.get_all(header::AUTHORIZATION).into_iter().filter_map(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().as_bytes())
        });
        // A gateway may use `Authorization` for its own tokens, so both headers are checked.
        let keys = headers.get_all(KEY_HEADER).into_iter().map(|value| value.as_bytes());
        let in_dialect = sent_keys(request);
        let keys = keys.chain(in_dialect.iter().map(Vec::as_slice));
        let sent: Vec<_> = bearers.chain(keys).take(MAX_SENT_KEYS).map(Sha256::digest).collect();
        let (ticket, now) = (tickets::sent(request), self.clock.now());
        let is_sent = |known: &ClientKey| {
            let is_from_ticket =
                ticket.as_ref().is_some_and(|ticket| KeyDigest(known.digest).accepts(ticket, now));
            sent.iter().fold(is_from_ticket, |found, digest| {
                found | bool::from(digest.as_slice().ct_eq(&known.digest))
            })
        };
        let matching = |found, (place, known)| if is_sent(known) { Some(place) } else { found };
        self.keys.iter().enumerate().fold(None, matching)
    }

    /// The last address in the chain of proxies that is not a trusted proxy. The client may have forged the addresses
    /// before that one.
    fn behind_proxies(&self, remote: IpAddr, headers: &HeaderMap) -> IpAddr {
        let is_trusted = |address: IpAddr| self.proxies.iter().any(|network| network.contains(address));
        let mut hops = if self.proxies.is_empty() { Vec::new() } else { hops(headers) };
        let mut last = remote;
        while is_trusted(last) {
            match hops.pop().flatten() {
                Some(hop) => last = hop,
                None => break,
            }
        }
        last
    }
}

/// The addresses that proxies reported, oldest first. `None` stands for an address that cannot be parsed.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let texts = |name: HeaderName| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|text| text.split(',')).collect::<Vec<_>>()
    };
    if headers.contains_key(FORWARDED_FOR) {
        return texts(FORWARDED_FOR).into_iter().map(address).collect();
    }
    let forwarded_for = |hop: &str| {
        let pairs = hop.split(';').filter_map(|pair| pair.split_once('='));
        let mut addresses = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
        addresses.next().and_then(|(_, text)| address(text))
    };
    texts(header::FORWARDED).into_iter().map(forwarded_for).collect()
}

/// Parses an address as proxies write it, possibly in quotes, in brackets or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let alone = || text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let address = alone().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

fn customer(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(long) => {
            let kept = u128::MAX << (Ipv6Addr::BITS - CUSTOMER_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(long.to_bits() & kept))
        }
    }
}

#[cfg(test)]
mod tests {
    use common::clock::SystemClock;

    use super::*;

    fn behind(proxies: &[&str], remote: &str, sent: &[(&'static str, &str)]) -> String {
        let proxies = proxies.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        let clients = Clients { keys: Vec::new(), proxies, clock: Arc::new(SystemClock) };
        clients.behind_proxies(remote.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_about_its_own_client() {
        let ours = ["10.0.0.0/8", "fd00::1"];
        let header = "x-forwarded-for";
        assert_eq!(behind(&[], "10.0.0.1", &[(header, "1.1.1.1")]), "10.0.0.1");
        assert_eq!(behind(&ours, "9.9.9.9", &[(header, "1.1.1.1")]), "9.9.9.9");
        assert_eq!(behind(&ours, "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(behind(&ours, "10.0.0.1", &[(header, "1.1.1.1")]), "1.1.1.1");
        assert_eq!(behind(&ours, "fd00::1", &[(header, "6.6.6.6, 1.1.1.1 , 10.2.3.4")]), "1.1.1.1");
        assert_eq!(
            behind(&ours, "10.0.0.1", &[(header, "6.6.6.6"), (header, "1.1.1.1:80, 10.1.1.1")]),
            "1.1.1.1"
        );
        // If all addresses are trusted proxies, the first one counts. An address that cannot be parsed hides the
        // addresses before it.
        assert_eq!(behind(&ours, "10.0.0.1", &[(header, "10.0.0.3, 10.0.0.2")]), "10.0.0.3");
        assert_eq!(behind(&ours, "10.0.0.1", &[(header, "1.1.1.1, unknown, 10.0.0.2")]), "10.0.0.2");
        let forwarded = "for=6.6.6.6, For=\"[2001:db8::7]:4711\";proto=https, by=10.0.0.9;for=10.0.0.2";
        assert_eq!(behind(&ours, "10.0.0.1", &[("forwarded", forwarded)]), "2001:db8::7");
        assert_eq!(behind(&ours, "10.0.0.1", &[("forwarded", "for=_hidden")]), "10.0.0.1");
        assert_eq!(
            behind(&ours, "10.0.0.1", &[("forwarded", "for=6.6.6.6"), (header, "::ffff:1.1.1.1")]),
            "1.1.1.1"
        );
    }

    #[test]
    fn all_addresses_of_one_ipv6_network_are_one_client() {
        let customer = |text: &str| super::customer(text.parse().unwrap()).to_string();
        assert_eq!(customer("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(customer("10.0.0.1"), "10.0.0.1");
    }
}
