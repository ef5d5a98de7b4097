//! The settings of answering: where, to whom, and how often.

mod access;

use std::{num::NonZeroU32, str::FromStr};

use common::text;
use serde::{Deserialize, Serialize};

pub use access::{ClientKey, ClientKeyError, Network, NetworkError, Origin, OriginError};

/// `[api]`: where and how questions are answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Address and port; port 0 picks a free one and prints it.
    #[serde(with = "text")]
    pub listen: ListenAddress,
    /// Requests each client may make, such as `600/m` or `10/s`; or `off`.
    #[serde(with = "text")]
    pub rate_limit: RateLimit,
    /// The origins whose pages may read answers, exactly as browsers write them; none: no page of another origin.
    #[serde(with = "text::list")]
    pub cors_origins: Vec<Origin>,
    /// Addresses or networks of proxies that are believed when they say whom they ask for.
    #[serde(with = "text::list")]
    pub trusted_proxies: Vec<Network>,
    /// The keys one of which a client must have, each as name=SHA-256; none: anybody may ask.
    #[serde(with = "text::list")]
    pub keys: Vec<ClientKey>,
}

/// `[admin]`: where operators ask about a process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Address and port for metrics and health, and for a backup of a pod's store; empty: off. The API answers
    /// metrics and health on its own address too; a poller has no other.
    #[serde(with = "text")]
    pub listen: ListenAddress,
}

/// How many requests a client may make, or any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimit {
    /// Any number.
    Off,
    /// So many per period, which may come as one burst.
    Per {
        /// How many.
        requests: NonZeroU32,
        /// The period's letter: `s`, `m` or `h`.
        unit: char,
    },
}

/// Where to listen: a host name or address, a colon, and a port; or nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenAddress(Option<String>);

/// Why a text is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address and port like 127.0.0.1:8080")]
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

/// Why a text is not a rate limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate limit: write requests per s, m or h, like 600/m, or off")]
pub struct RateLimitError(String);

impl RateLimit {
    /// How many requests are free in how many seconds, where there is a limit.
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
        let (cors_origins, trusted_proxies, keys) = Default::default();
        let rate_limit = RateLimit::Per { requests, unit: 'm' };
        Self { listen, rate_limit, cors_origins, trusted_proxies, keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limits_are_read_and_written() {
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
