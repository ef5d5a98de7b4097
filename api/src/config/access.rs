//! Who may ask, and how they are told apart.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// How much of a wrong setting is repeated.
const MAX_REPEATED: usize = 60;

/// Where a page comes from, as browsers write it: scheme, host, and the port if it is not the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an origin: write scheme and host as browsers do, like https://example.org or http://localhost:3000"
)]
pub struct OriginError(String);

impl Origin {
    /// As it stands in a header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
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
            .ok_or_else(|| OriginError(shortened(text)))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An address, or all that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address like 10.0.0.7, nor a network like 10.0.0.0/8")]
pub struct NetworkError(String);

impl Network {
    /// Whether an address is in it.
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

/// A client's key: what it is called here, and its SHA-256. The key itself is nowhere in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// What it is called.
    pub name: String,
    /// Its digest.
    pub digest: [u8; 32],
}

/// Why a text is no key. It is not repeated: somebody may have written the key itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write a name, `=`, and the 64 hex digits that `printf %s KEY | sha256sum` says")]
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
    fn origins_are_taken_as_browsers_write_them_and_not_otherwise() {
        for text in ["https://example.org", "http://localhost:3000", "http://[::1]:8080"] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
        }
        for text in
            ["", "*", "null", "example.org", "https://", "https://example.org/", "https://Example.org"]
        {
            assert!(text.parse::<Origin>().is_err(), "{text}");
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
