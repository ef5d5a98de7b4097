//! The settings for access: web origins, trusted proxies and API keys.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// How many characters of an invalid setting an error message repeats at most.
const MAX_REPEATED: usize = 60;

/// The origin of web pages, as browsers write it: scheme, host, and the port unless it is the default one. `*` stands for
/// every origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin(String);

/// The text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an origin; write scheme and host in lower case and without a path, like https://example.org or \
     http://localhost:3000, or `*` for all pages"
)]
pub struct WebOriginError(String);

impl WebOrigin {
    /// What stands for every origin.
    const ANY: &str = "*";

    /// Whether this stands for every origin.
    pub fn is_any(&self) -> bool {
        self.0 == Self::ANY
    }

    /// The origin as it appears in headers.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WebOrigin {
    type Err = WebOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Self::ANY {
            return Ok(Self(text.to_owned()));
        }
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_host = |host: &str| {
            let fits = |byte: u8| {
                byte.is_ascii_lowercase()
                    || byte.is_ascii_digit()
                    || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
            };
            !host.is_empty() && host.bytes().all(fits)
        };
        host.filter(|host| is_host(host))
            .map(|_| Self(text.to_owned()))
            .ok_or_else(|| WebOriginError(shortened(text)))
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A single address or a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// The text is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an address like 10.0.0.7 nor a network like 10.0.0.0/8")]
pub struct NetworkError(String);

impl Network {
    /// Whether the network contains an address.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alone = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| alone()).map(Self).map_err(|_| NetworkError(shortened(text)))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A client's API key: a name and the SHA-256 of the key. The key itself is never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// The name of the key.
    pub name: String,
    /// The SHA-256 of the key.
    pub digest: [u8; 32],
}

/// The text is not a key. The error does not repeat the text, because it may contain the key itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a key; write a name (letters, digits, `-`, `_` and `.`), `=`, and the 64 hex digits that \
     `printf %s KEY | sha256sum` prints"
)]
pub struct ClientKeyError;

impl FromStr for ClientKey {
    type Err = ClientKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digits) = text.split_once('=').ok_or(ClientKeyError)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(is_name) || digits.len() != 64 {
            return Err(ClientKeyError);
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            let pair =
                digits.get(at..at + 2).filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(ClientKeyError)?;
        }
        Ok(Self { name: name.to_owned(), digest })
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}=", self.name)?;
        self.digest.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_REPEATED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_must_be_written_exactly_as_browsers_do() {
        for text in ["https://example.org", "http://localhost:3000", "http://[::1]:8080", "*"] {
            let origin = text.parse::<WebOrigin>().unwrap();
            assert_eq!((origin.to_string().as_str(), origin.is_any()), (text, text == "*"));
        }
        for text in [
            "",
            "null",
            "example.org",
            "https://",
            "https://example.org/",
            "https://Example.org",
            "https://*.example.org",
        ] {
            assert!(text.parse::<WebOrigin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_is_an_address_or_a_range() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(network("10.0.0.0/8").contains(address("10.1.2.3")));
        assert!(!network("10.0.0.7").contains(address("10.0.0.8")));
        assert!(network("fd00::/8").contains(address("fd12::1")));
        for text in ["", "10.0.0", "10.0.0.0/33", "proxy.local", "10.0.0.1:80"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_a_name_and_a_digest() {
        let digits = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        let text = format!("team-a={digits}");
        let key = text.parse::<ClientKey>().unwrap();
        assert_eq!((key.name.as_str(), key.digest[0], key.to_string()), ("team-a", 0x2c, text.clone()));
        for text in
            [digits.to_owned(), format!("={digits}"), "team=secret".to_owned(), text.replace('f', "+")]
        {
            let error = text.parse::<ClientKey>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
