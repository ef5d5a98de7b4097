//! The settings for access: web origins, trusted proxies and API keys.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

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

/// Why a key is refused. The error does not repeat the text, because it may contain the key itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientKeyError {
    /// The text is not a key.
    #[error(
        "this is not a key; write a name (letters, digits, `-`, `_` and `.`), `=`, and the 64 hex digits that \
         `printf %s KEY | sha256sum | cut -d' ' -f1` prints"
    )]
    Malformed,
    /// The digest is that of a text that everybody would try first.
    #[error(
        "the key {0} is empty, has only one or two characters, or is a placeholder such as `changeme`; choose a random one: \
         key=$(openssl rand -hex 16); printf %s \"$key\" | sha256sum | cut -d' ' -f1"
    )]
    Weak(String),
    /// Two keys have the same name or the same digest.
    #[error(
        "{0} and {1} are the same key or have the same name; give each client a key and a name of its own"
    )]
    Repeated(String, String),
}

/// Texts that are used as keys by mistake, in lower case. The empty one is what `printf %s "$KEY"` prints if the variable
/// is not set.
const PLACEHOLDERS: [&str; 14] = [
    "",
    "key",
    "apikey",
    "api-key",
    "api_key",
    "test",
    "secret",
    "password",
    "changeme",
    "change-me",
    "admin",
    "token",
    "example",
    "tickwell",
];

/// Whether a digest is that of a placeholder, or of a key of one or two printable characters. The length of other keys
/// cannot be seen from their digests. The key may have been given to `sha256sum` with a line break.
fn is_weak(digest: &[u8; 32]) -> bool {
    let is_of = |text: &[u8]| {
        let with_break = [text, b"\n"].concat();
        [text, &with_break].into_iter().any(|text| Sha256::digest(text).as_slice() == digest)
    };
    let printable = || b' '..=b'~';
    let is_word = |word: &&str| is_of(word.as_bytes()) || is_of(word.to_ascii_uppercase().as_bytes());
    PLACEHOLDERS.iter().any(is_word)
        || printable().any(|one| is_of(&[one]) || printable().any(|other| is_of(&[one, other])))
}

impl ClientKey {
    /// Checks that no two keys have the same name or the same digest.
    pub(super) fn require_distinct(keys: &[Self]) -> Result<(), ClientKeyError> {
        for (place, key) in keys.iter().enumerate() {
            let mut others = keys.iter().skip(place + 1);
            if let Some(other) = others.find(|other| other.name == key.name || other.digest == key.digest) {
                return Err(ClientKeyError::Repeated(key.name.clone(), other.name.clone()));
            }
        }
        Ok(())
    }
}

impl FromStr for ClientKey {
    type Err = ClientKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digits) = text.split_once('=').ok_or(ClientKeyError::Malformed)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(is_name) || digits.len() != 64 {
            return Err(ClientKeyError::Malformed);
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            let pair =
                digits.get(at..at + 2).filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte =
                pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(ClientKeyError::Malformed)?;
        }
        if is_weak(&digest) {
            return Err(ClientKeyError::Weak(name.to_owned()));
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

    /// A key as it is written in the settings.
    fn written(name: &str, key: &str) -> String {
        let digits: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{name}={digits}")
    }

    #[test]
    fn keys_that_everybody_would_try_first_are_refused() {
        for weak in ["", "\n", "a", "~~", "a\n", "KEY", "secret", "Changeme".to_lowercase().as_str()] {
            let refused = written("team", weak).parse::<ClientKey>();
            assert_eq!(refused, Err(ClientKeyError::Weak("team".to_owned())), "{weak:?}");
        }
        // The digest of the empty string, as `sha256sum < /dev/null` prints it.
        let empty = "team=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(empty.parse::<ClientKey>().is_err());
        assert!(written("team", "b3d41f0e9a5c7d21").parse::<ClientKey>().is_ok());
    }

    #[test]
    fn keys_and_their_names_are_distinct() {
        let key = |name: &str, key: &str| written(name, key).parse::<ClientKey>().unwrap();
        let distinct = |keys: &[ClientKey]| ClientKey::require_distinct(keys).is_ok();
        let (a, b) = (key("a", "b3d41f0e9a5c7d21"), key("b", "0e9a5c7d21b3d41f"));
        assert!(distinct(&[]) && distinct(&[a.clone(), b.clone()]));
        assert!(!distinct(&[a.clone(), b.clone(), a.clone()]));
        assert!(!distinct(&[a.clone(), key("a", "0e9a5c7d21b3d41f")]));
        assert!(!distinct(&[b, key("c", "0e9a5c7d21b3d41f")]));
    }
}
