//! The settings of the HTTP side: addresses, access and rate limits.

mod access;
mod coins;

use std::{num::NonZeroU32, str::FromStr};

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
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts =
            text.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
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
    fn the_defaults_are_the_documented_ones() {
        assert_eq!(ApiConfig::default().rate_limit.to_string(), "600/m");
    }
}
