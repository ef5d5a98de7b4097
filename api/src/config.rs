//! The settings of the HTTP side: addresses, access and rate limits.

mod access;
mod coins;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    str::FromStr,
};

use common::text;
use serde::{Deserialize, Serialize};

pub use access::{ClientKey, ClientKeyError, Network, NetworkError, WebOrigin, WebOriginError};
pub use coins::{CoinId, CoinIdError};

/// `[api]`: the public listener and who may use it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// The address and port to listen on. With port 0, the system picks a free port, which is logged.
    #[serde(with = "text")]
    pub listen: ListenAddress,
    /// How many requests each client may send per second, minute or hour, such as `10/s` or `600/m`. `off` removes the
    /// limit.
    #[serde(with = "text")]
    pub rate_limit: RateLimit,
    /// Origins of web pages that may send requests, exactly as browsers write them, or `*` for all pages. If the list is
    /// empty, only the pod's own pages may.
    #[serde(with = "text::list")]
    pub cors_origins: Vec<WebOrigin>,
    /// Addresses or networks of proxies whose headers `X-Forwarded-For`, `Forwarded` and `X-Forwarded-Host` are trusted.
    #[serde(with = "text::list")]
    pub trusted_proxies: Vec<Network>,
    /// API keys, each as name=SHA-256. A client must send one of the keys. If the list is empty, no key is needed.
    #[serde(with = "text::list")]
    pub keys: Vec<ClientKey>,
    /// Whether the prices are also served in CoinGecko's dialect, under `/api/v3`.
    pub coingecko: bool,
    /// Ids of assets in CoinGecko's dialect, each as asset=id. They add to the ids of the better-known coins.
    #[serde(with = "text::list")]
    pub coingecko_ids: Vec<CoinId>,
}

impl ApiConfig {
    /// Checks what the settings mean together.
    pub fn check(&self) -> Result<(), ClientKeyError> {
        ClientKey::require_distinct(&self.keys)
    }
}

/// `[admin]`: the listener for operators.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// The address and port for metrics, health and backups of a pod's store. If the address is empty, there is no
    /// admin listener. A pod also serves metrics and health on `api.listen`; a poller serves them only here.
    #[serde(with = "text")]
    pub listen: ListenAddress,
}

/// How many requests a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimit {
    /// Unlimited.
    Off,
    /// A number of requests per period. A client may send all of them at once.
    Per {
        /// The number of requests.
        requests: NonZeroU32,
        /// The period: `s`, `m` or `h`.
        unit: char,
    },
}

/// Where to listen: a host name or address, a colon and a port. The text is empty if the listener is turned off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenAddress(Option<String>);

/// The text is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address or host name with a port, like 127.0.0.1:8080")]
pub struct ListenAddressError(String);

impl ListenAddress {
    /// The address, if there is one.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether a process cannot listen on both addresses, as far as the texts show. Port 0 is fine for both: each gets its
    /// own free port.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let parts = |address: &Self| {
            let (host, port) = address.get()?.rsplit_once(':')?;
            let host = if host == "localhost" { "127.0.0.1" } else { host };
            Some((
                host.trim_matches(['[', ']']).to_owned(),
                port.parse::<u16>().ok().filter(|port| *port > 0)?,
            ))
        };
        let is_any = |host: &str| ["0.0.0.0", "::"].contains(&host);
        parts(self).zip(parts(other)).is_some_and(|((host, port), (other, other_port))| {
            port == other_port && (host == other || is_any(&host) || is_any(&other))
        })
    }
}

/// Whether a text is an IPv4 address, an IPv6 address in brackets, or a host name.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        // A text of digits and dots only is a mistyped address and not a name.
        None if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            text.parse::<Ipv4Addr>().is_ok()
        }
        None => text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_port =
            |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
        let parts = text.rsplit_once(':').filter(|(host, port)| is_host(host) && is_port(port));
        match parts {
            _ if text.is_empty() => Ok(Self(None)),
            Some(_) => Ok(Self(Some(text.to_owned()))),
            None => Err(ListenAddressError(text.chars().take(60).collect())),
        }
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0.as_deref().unwrap_or_default())
    }
}

/// The text is not a rate limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a rate limit; write a whole number of requests per `s`, `m` or `h`, like `600/m`, or `off`"
)]
pub struct RateLimitError(String);

impl RateLimit {
    /// The number of requests that a client may send, and the period in seconds. `None` if there is no limit.
    pub fn quota(self) -> Option<(NonZeroU32, u32)> {
        let Self::Per { requests, unit } = self else { return None };
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            _ => 3_600,
        };
        Some((requests, seconds))
    }
}

impl FromStr for RateLimit {
    type Err = RateLimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let parse = || {
            let (requests, unit) = text.split_once('/')?;
            let unit = ['s', 'm', 'h'].into_iter().find(|known| unit == known.to_string())?;
            Some(Self::Per { requests: requests.parse().ok()?, unit })
        };
        parse().ok_or_else(|| RateLimitError(text.chars().take(40).collect()))
    }
}

impl std::fmt::Display for RateLimit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => formatter.write_str("off"),
            Self::Per { requests, unit } => write!(formatter, "{requests}/{unit}"),
        }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        let requests = NonZeroU32::MIN.saturating_add(599);
        let listen = ListenAddress(Some("127.0.0.1:8080".to_owned()));
        let (cors_origins, trusted_proxies, keys, coingecko_ids) = Default::default();
        let rate_limit = RateLimit::Per { requests, unit: 'm' };
        let coingecko = true;
        Self { listen, rate_limit, cors_origins, trusted_proxies, keys, coingecko, coingecko_ids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limits_are_parsed_and_formatted() {
        for text in ["600/m", "10/s", "1/h", "off"] {
            assert_eq!(text.parse::<RateLimit>().unwrap().to_string(), text);
        }
        for text in ["", "600", "0/m", "-1/m", "600/d", "600/min", "OFF"] {
            assert!(text.parse::<RateLimit>().is_err(), "{text}");
        }
        let quota = |text: &str| text.parse::<RateLimit>().unwrap().quota();
        assert_eq!(quota("600/m").map(|(requests, seconds)| (requests.get(), seconds)), Some((600, 60)));
        assert_eq!(quota("1/h").map(|(requests, seconds)| (requests.get(), seconds)), Some((1, 3_600)));
        assert_eq!(quota("off"), None);
    }

    #[test]
    fn an_address_to_listen_on_is_a_host_and_a_port() {
        for text in ["127.0.0.1:8080", "[::1]:0", "[::]:80", "localhost:8080", "pod-1.internal:9090", ""] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in [
            "127.0.0.1",
            ":8080",
            "127.0.0.1:",
            "127.0.0.1:+80",
            "127.0.0.1:65536",
            "::1:8080",
            "[::1:8080",
            "[x]:80",
            "300.0.0.1:80",
            "1.2.3:80",
            "local host:80",
            "http://localhost:80",
            "localhost:80/",
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn two_listeners_conflict_if_one_address_contains_the_other() {
        let conflict = |one: &str, other: &str| {
            let (one, other) = (one.parse::<ListenAddress>().unwrap(), other.parse().unwrap());
            one.conflicts_with(&other)
        };
        assert!(conflict("127.0.0.1:80", "127.0.0.1:80") && conflict("localhost:80", "127.0.0.1:80"));
        assert!(conflict("0.0.0.0:80", "127.0.0.1:80") && conflict("127.0.0.1:80", "[::]:80"));
        assert!(!conflict("127.0.0.1:80", "127.0.0.1:81") && !conflict("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!conflict("127.0.0.1:80", "127.0.0.2:80") && !conflict("127.0.0.1:80", ""));
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        assert_eq!(ApiConfig::default().rate_limit.to_string(), "600/m");
    }
}
