//! The proxy through which sources are asked.

use std::{fmt, str::FromStr};

use reqwest::{ClientBuilder, Url};

use super::key::REDACTED;

/// The schemes of the proxies that the HTTP library supports. With `socks5h`, the proxy looks up host names.
const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

/// Through which proxy a source is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum EgressProxy {
    /// Not set. A source then uses `sources.proxy`. If that is not set either, the environment variables apply.
    #[default]
    Unset,
    /// None, whatever the environment variables say.
    Off,
    /// This one. The environment variables are ignored.
    At(ProxyUrl),
}

/// The address of a proxy. It may contain a user and password, which are never shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyUrl(Url);

/// The error for a text that does not name a proxy. It does not contain the text, which may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be `off` or the URL of a proxy without a path, such as http://proxy.example:3128 or \
     socks5h://proxy.example:1080"
)]
pub struct EgressProxyError;

impl EgressProxy {
    /// Whether no proxy is set.
    pub fn is_unset(&self) -> bool {
        *self == Self::Unset
    }

    /// This proxy, or `other` if it is not set.
    #[must_use]
    pub fn or<'a>(&'a self, other: &'a Self) -> &'a Self {
        if self.is_unset() { other } else { self }
    }

    /// Makes a client use this proxy.
    pub(super) fn apply(&self, client: ClientBuilder) -> Result<ClientBuilder, reqwest::Error> {
        Ok(match self {
            Self::Unset => client,
            Self::Off => client.no_proxy(),
            Self::At(ProxyUrl(url)) => client.proxy(reqwest::Proxy::all(url.clone())?),
        })
    }
}

impl FromStr for EgressProxy {
    type Err = EgressProxyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Ok(Self::Unset),
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At),
        }
    }
}

impl fmt::Display for EgressProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => Ok(()),
            Self::Off => formatter.write_str("off"),
            Self::At(url) => url.fmt(formatter),
        }
    }
}

impl FromStr for ProxyUrl {
    type Err = EgressProxyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Url = text.parse().map_err(|_| EgressProxyError)?;
        // The HTTP library ignores proxies whose host has other characters, and would then use none.
        let is_plain = |host: &str| {
            host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
                && !host.is_empty()
        };
        let is_base = ["", "/"].contains(&url.path()) && url.query().is_none() && url.fragment().is_none();
        let is_valid = SCHEMES.contains(&url.scheme()) && url.host_str().is_some_and(is_plain) && is_base;
        if is_valid { Ok(Self(url)) } else { Err(EgressProxyError) }
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(url) = self;
        let has_secret = !url.username().is_empty() || url.password().is_some();
        let secret = if has_secret { format!("{REDACTED}@") } else { String::new() };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        write!(formatter, "{}://{secret}{}{port}", url.scheme(), url.host_str().unwrap_or_default())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_its_user_and_password() {
        for (text, shown) in [
            ("", ""),
            ("off", "off"),
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("http://proxy.example:3128/", "http://proxy.example:3128"),
            ("https://proxy.example", "https://proxy.example"),
            ("socks5://10.1.2.3:1080", "socks5://10.1.2.3:1080"),
            ("socks5h://[fd00::1]:1080", "socks5h://[fd00::1]:1080"),
            ("http://me:hunter2@proxy.example:3128", "http://[redacted]@proxy.example:3128"),
            ("socks5h://hunter2@proxy.example", "socks5h://[redacted]@proxy.example"),
        ] {
            let proxy: EgressProxy = text.parse().unwrap();
            assert_eq!(proxy.to_string(), shown);
            assert!(!format!("{proxy:?}").contains("hunter2"));
        }
    }

    #[test]
    fn other_texts_are_refused_without_repeating_them() {
        for text in [
            "none",
            "proxy.example:3128",
            "me:hunter2@proxy.example:3128",
            "ftp://me:hunter2@proxy.example",
            "socks4://me:hunter2@proxy.example",
            "http://me:hunter2@proxy.example/path",
            "http://me:hunter2@proxy.example?query",
            "http://me:hunter2@",
            "socks5://me:hunter2@",
            // The HTTP library would ignore this one, and use no proxy.
            "socks5://me:hunter2@b\u{fc}cher.example",
        ] {
            let refused = text.parse::<EgressProxy>().unwrap_err().to_string();
            assert!(refused.contains("`off`") && !refused.contains("hunter2"), "{text}: {refused}");
        }
    }

    #[test]
    fn a_source_uses_its_own_proxy_before_that_of_all_sources() {
        let [unset, off, one, all]: [EgressProxy; 4] =
            ["", "off", "http://one.example", "http://all.example"].map(|text| text.parse().unwrap());
        assert_eq!(
            [unset.or(&all), off.or(&all), one.or(&all), unset.or(&unset)],
            [&all, &off, &one, &unset]
        );
    }
}
