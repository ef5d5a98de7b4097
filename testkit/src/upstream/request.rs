//! A request's head, and the parts of it that venues use.

use http::Method;

use super::request_log::SentKey;

/// The maximum number of header fields. Our client sends fewer than ten.
const MAX_HEADERS: usize = 64;

/// The headers for CoinGecko's two kinds of keys.
const KEY_HEADERS: [&str; 2] = ["x-cg-demo-api-key", "x-cg-pro-api-key"];

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Query,
    pub(super) key: Option<SentKey>,
    /// Whether another request may follow on the same connection.
    pub(super) keep_alive: bool,
}

/// The query, without the question mark.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Option<String>);

impl Request {
    /// The first request in `bytes` and its length; `None` if it is not complete yet.
    ///
    /// # Errors
    ///
    /// Fails if this is not HTTP/1.
    pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Option<(Self, usize)>> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(bytes)? else { return Ok(None) };
        let field = |name: &str| {
            let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            Some(String::from_utf8_lossy(header.value).into_owned())
        };
        let has_body = field("content-length").is_some_and(|length| length != "0")
            || field("transfer-encoding").is_some();
        let closes = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let key = KEY_HEADERS
            .into_iter()
            .find_map(|name| field(name).map(|value| SentKey { header: name.to_owned(), value }));
        let (path, query) = match head.path.unwrap_or_default().split_once('?') {
            Some((path, query)) => (path, Query(Some(query.to_owned()))),
            None => (head.path.unwrap_or_default(), Query(None)),
        };
        let request = Self {
            method: head.method.unwrap_or_default().parse()?,
            path: path.to_owned(),
            query,
            key,
            // The body is not read, so no further request can follow.
            keep_alive: head.version == Some(1) && !closes && !has_body,
        };
        Ok(Some((request, length)))
    }
}

impl Query {
    /// A parameter's decoded value.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let parameters = self.0.as_deref()?.split('&').filter_map(|parameter| parameter.split_once('='));
        parameters.into_iter().find(|(known, _)| *known == name).map(|(_, value)| percent_decode(value))
    }

    /// A parameter that is a whole number.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }

    /// The parts of a comma-separated parameter; empty if it is missing.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.get(name).iter().flat_map(|list| list.split(',')).map(str::to_owned).collect()
    }

    /// `path?query`, as it was sent.
    pub(super) fn after(&self, path: &str) -> String {
        self.0.as_ref().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
    }
}

/// Decodes `%2C` and the like. Some clients encode the commas of a list.
fn percent_decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte.filter(u8::is_ascii), part.get(2..)) {
            (Some(byte), Some(rest)) => {
                decoded.push(char::from(byte));
                decoded.push_str(rest);
            }
            _ => {
                decoded.push('%');
                decoded.push_str(part);
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_may_be_percent_encoded() {
        let get = |query: &str| Query(Some(query.to_owned())).get("pair");
        assert_eq!(get("pair=XBTUSD,ETHUSD").as_deref(), Some("XBTUSD,ETHUSD"));
        assert_eq!(get("x=1&pair=XBTUSD%2CETHUSD&y=2").as_deref(), Some("XBTUSD,ETHUSD"));
        assert_eq!(get("pair=%2cA%").as_deref(), Some(",A%"));
        assert_eq!(get("pair=%zzA%é").as_deref(), Some("%zzA%é"));
        assert_eq!(get("pairs=XBTUSD"), None);
    }

    #[test]
    fn a_complete_head_is_read_and_the_bytes_after_it_are_left() {
        let head = b"GET /kraken/x?a=b HTTP/1.1\r\nHost: fake\r\nX-CG-Demo-API-Key: secret\r\n\r\nGET /next";
        assert!(Request::parse(&head[..40]).unwrap().is_none());
        let (request, length) = Request::parse(head).unwrap().unwrap();
        assert_eq!(&head[length..], b"GET /next");
        assert_eq!((request.path.as_str(), request.query.after("/x")), ("/kraken/x", "/x?a=b".to_owned()));
        assert_eq!((request.method, request.keep_alive), (Method::GET, true));
        let key = SentKey { header: "x-cg-demo-api-key".to_owned(), value: "secret".to_owned() };
        assert_eq!(request.key, Some(key));
        assert!(Request::parse(b"\x16\x03\x01\x02\r\n\r\n").is_err());
    }

    #[test]
    fn no_request_follows_a_body_or_a_connection_close() {
        for field in ["connection: close", "content-length: 3", "transfer-encoding: chunked"] {
            let head = format!("POST / HTTP/1.1\r\n{field}\r\n\r\n");
            assert!(!Request::parse(head.as_bytes()).unwrap().unwrap().0.keep_alive, "{field}");
        }
    }
}
