//! Reads `bus.url`: the addresses of the NATS servers, and the login that a URL may contain.
//!
//! User name and password are percent-decoded, as other NATS clients do. A user name without a password is a token.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::text::redacted;

/// The content of `bus.url`.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct Servers {
    /// The servers' URLs without user names and passwords.
    pub(super) urls: Vec<String>,
    /// The login, if one of the URLs contains one. It is used for all servers.
    pub(super) login: Option<UrlLogin>,
}

/// The login in a URL, decoded.
#[derive(Clone, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum UrlLogin {
    Password { user: String, password: String },
    Token(String),
}

/// Why `bus.url` cannot be used. The messages contain no secrets.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// One of the addresses is not a URL of a NATS server.
    #[error(
        "`{0}` is not a NATS URL; use one like nats://127.0.0.1:4222 or tls://USER:PASSWORD@host:4222, in which special \
         characters of the user name and the password are percent-encoded, such as %40 for @ and %2F for /; or use \
         bus.user and bus.password_file"
    )]
    NotUrl(String),
    /// The user name or the password is not percent-encoded.
    #[error(
        "the user name or the password in `{0}` has a `%` that is not followed by two hexadecimal digits, or is not \
         UTF-8; write `%` as `%25`, or use bus.user and bus.password_file"
    )]
    Encoding(String),
    /// There is a password without a user name.
    #[error("`{0}` has a password but no user name")]
    NoUser(String),
    /// Two URLs contain different logins.
    #[error("the URLs contain different user names or passwords, but all servers get the same login")]
    Logins,
}

impl Servers {
    /// Parses one or more URLs, separated by commas.
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        let (mut urls, mut login) = (Vec::new(), None);
        for part in text.split(',').map(str::trim) {
            let (url, own) = split_login(part, || redacted(text))?;
            urls.push(url);
            match (&login, own) {
                (Some(earlier), Some(own)) if *earlier != own => return Err(AddressError::Logins),
                (None, own) => login = own,
                _ => {}
            }
        }
        Ok(Self { urls, login })
    }
}

/// Splits a URL into the URL without its login, and the login. An error contains `shown`, which is the whole setting
/// without secrets: a URL on its own may be a piece of one with a comma in its password.
fn split_login(text: &str, shown: impl Fn() -> String) -> Result<(String, Option<UrlLogin>), AddressError> {
    let not_url = || AddressError::NotUrl(shown());
    let mut url = parse_url(text).ok_or_else(not_url)?;
    let decode = |encoded: &str| decoded(encoded).ok_or_else(|| AddressError::Encoding(shown()));
    let login = match (url.username(), url.password()) {
        ("", None) => None,
        ("", Some(_)) => return Err(AddressError::NoUser(shown())),
        (token, None) => Some(UrlLogin::Token(decode(token)?)),
        (user, Some(password)) => {
            Some(UrlLogin::Password { user: decode(user)?, password: decode(password)? })
        }
    };
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| not_url())?;
    Ok((url.to_string(), login))
}

/// Parses the URL of a NATS server, in which the scheme `nats` is optional. A path or a query is refused, because in a
/// URL with an unencoded `/`, `?` or `#`, it is a part of the password. WebSockets are not supported.
fn parse_url(text: &str) -> Option<Url> {
    let url = if text.contains("://") { text.parse() } else { format!("nats://{text}").parse() };
    let is_address = |url: &Url| {
        ["nats", "tls"].contains(&url.scheme())
            && url.host_str().is_some_and(|host| !host.is_empty())
            && ["", "/"].contains(&url.path())
            && url.query().is_none()
            && url.fragment().is_none()
    };
    url.ok().filter(is_address)
}

/// Decodes percent-encoded text. `None` if it is not encoded correctly.
fn decoded(text: &str) -> Option<String> {
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    let is_encoded = text.split('%').skip(1).all(is_escape);
    let decoded = percent_decode_str(text).decode_utf8().ok().filter(|_| is_encoded);
    decoded.map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Option<UrlLogin> {
        Some(UrlLogin::Password { user: user.to_owned(), password: password.to_owned() })
    }

    fn parsed(text: &str) -> (String, Option<UrlLogin>) {
        let Servers { urls, login } = Servers::parse(text).unwrap();
        (urls.join(" "), login)
    }

    #[test]
    fn a_login_is_decoded_and_removed_from_the_url() {
        let host = "nats://host:4222".to_owned();
        assert_eq!(parsed("nats://host:4222"), (host.clone(), None));
        assert_eq!(parsed("host:4222"), (host.clone(), None));
        assert_eq!(
            parsed("nats://me:p%40ss%2Fw%23%25%2c%C3%A9@host:4222"),
            (host.clone(), password("me", "p@ss/w#%,é"))
        );
        // These need no encoding.
        assert_eq!(
            parsed("a.b:p|w d^!$&'()*+;=@host:4222"),
            (host.clone(), password("a.b", "p|w d^!$&'()*+;="))
        );
        assert_eq!(parsed("nats://me:p@ss:w@host:4222"), (host.clone(), password("me", "p@ss:w")));
        assert_eq!(parsed("nats://s%2Bcret@host:4222"), (host, Some(UrlLogin::Token("s+cret".to_owned()))));
        assert_eq!(
            parsed("nats://a:1, tls://me:x@[::1]:2,nats://me:x@c"),
            ("nats://a:1 tls://[::1]:2 nats://c".to_owned(), password("me", "x"))
        );
    }

    #[test]
    fn a_wrong_url_is_refused_without_showing_its_secrets() {
        for url in [
            "",
            "http://host",
            "ws://host:80",
            "nats://",
            "nats://a:1,",
            "nats://host:port",
            "nats://host:4222/path",
            "nats://me:secret/x@host",
            "nats://me:secret#x@host",
            "nats://me:secret?x@host",
            "nats://me:secret,x@host",
            "nats://me:secret%zz@host",
            "nats://me:secret%@host",
            "nats://me:secret%FF@host",
            "nats://:secret@host",
            "nats://me:secret@a,nats://me:other@b",
            "nats://me:secret@a,nats://secret@b",
        ] {
            let message = Servers::parse(url).unwrap_err().to_string();
            assert!(!message.contains("secret"), "{url}: {message}");
            assert!(!redacted(url).contains("secret"), "{url}: {}", redacted(url));
        }
    }
}
