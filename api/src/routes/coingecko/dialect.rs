//! What is the same for all routes of the dialect, and different from `/v1`: slashes, keys and errors.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode, Uri, header};
use poem::{Endpoint, Request, Response, Result};
use serde_json::{Value, json};

use super::PREFIX;
use crate::{
    layers::SharedEndpoint,
    problem::{Code, Problem, into_response},
};

/// The headers in which CoinGecko's clients send their key.
const KEY_HEADERS: [&str; 2] = ["x-cg-demo-api-key", "x-cg-pro-api-key"];

/// The parameters in which CoinGecko's clients send their key, if not in a header.
pub(crate) const KEY_PARAMETERS: [&str; 2] = ["x_cg_demo_api_key", "x_cg_pro_api_key"];

/// CoinGecko's number for a missing or invalid key.
const KEY_MISSING: u16 = 10_002;

/// Whether a path belongs to the dialect.
pub(crate) fn is_of_dialect(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The keys that a request of the dialect sends in CoinGecko's way.
pub(crate) fn sent_keys(request: &Request) -> Vec<Vec<u8>> {
    if !is_of_dialect(request.uri().path()) {
        return Vec::new();
    }
    let headers = KEY_HEADERS.iter().flat_map(|name| request.headers().get_all(*name));
    let parameters: Vec<(String, String)> = request.params().unwrap_or_default();
    let parameters = parameters.into_iter().filter(|(name, _)| KEY_PARAMETERS.contains(&name.as_str()));
    headers
        .map(|value| value.as_bytes().to_vec())
        .chain(parameters.map(|(_, key)| key.into_bytes()))
        .collect()
}

/// Removes a slash at the end of a path of the dialect. Some clients send one.
pub(crate) fn ignore_slash(request: &mut Request) {
    let without = without_slash(request.uri()).filter(|uri| is_of_dialect(uri.path()));
    if let Some(uri) = without {
        *request.uri_mut() = uri;
    }
}

/// Responds to a request of the dialect. Errors are written as CoinGecko writes them. If the dialect is turned off, its
/// paths are unknown.
pub(crate) async fn speak(next: SharedEndpoint, request: Request, is_on: bool) -> Result<Response> {
    if !is_on {
        return Err(Problem::new(Code::NotFound, "there is no such route; see /docs").into());
    }
    let mut response = into_response(next.call(request).await);
    if let Some(problem) = response.data::<Problem>().cloned() {
        let (status, body) = error(&problem);
        response.set_status(status);
        response.set_body(body.to_string());
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    Ok(response)
}

fn without_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/')?.trim_end_matches('/');
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{path}{query}").parse().ok()
}

/// The status and body of an error. CoinGecko has a form with a number for keys, limits and outages, and a form with
/// only a text for everything else.
fn error(problem: &Problem) -> (StatusCode, Value) {
    let detail = problem.detail();
    let numbered = |number: u16, text: &str| json!({"status": {"error_code": number, "error_message": text}});
    let status = problem.code().status();
    match problem.code() {
        Code::InvalidParameter => {
            let text: Cow<'_, str> = match problem.parameter_name() {
                Some(name) if problem.is_missing_parameter() => format!("Missing parameter {name}").into(),
                Some(name) => format!("Invalid parameter {name}: {detail}").into(),
                None => detail.into(),
            };
            (StatusCode::UNPROCESSABLE_ENTITY, json!({"error": text}))
        }
        Code::NotFound => {
            let text = "this server does not have this route of CoinGecko; /docs lists those that it has";
            (status, json!({"error": text}))
        }
        Code::Unauthorized => {
            let text = "API key missing or invalid: send one of this server's keys in the header x-cg-demo-api-key \
                        or the parameter x_cg_demo_api_key";
            (status, numbered(KEY_MISSING, text))
        }
        _ if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            (status, numbered(status.as_u16(), detail))
        }
        _ => (status, json!({"error": detail})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_at_the_end_are_ignored() {
        let uri = |text: &'static str| without_slash(&Uri::from_static(text)).map(|uri| uri.to_string());
        assert_eq!(uri("/api/v3/ping/"), Some("/api/v3/ping".into()));
        assert_eq!(uri("/api/v3/ping//?a=b/"), Some("/api/v3/ping?a=b/".into()));
        assert_eq!(uri("/api/v3/ping?a=/"), None);
        assert!(is_of_dialect("/api/v3") && is_of_dialect("/api/v3/x") && !is_of_dialect("/api/v30"));
    }

    #[test]
    fn errors_have_the_recorded_forms() {
        let body = |problem: &Problem| {
            let (status, body) = error(problem);
            (status.as_u16(), body)
        };
        assert_eq!(
            body(&Problem::missing("vs_currencies")),
            (422, json!({"error": "Missing parameter vs_currencies"}))
        );
        let (status, limited) = body(&Problem::new(Code::RateLimited, "slow down"));
        assert_eq!((status, &limited["status"]["error_code"]), (429, &json!(429)));
        let (status, keyless) = body(&Problem::new(Code::Unauthorized, ""));
        assert_eq!((status, &keyless["status"]["error_code"]), (401, &json!(10_002)));
        let (status, unknown) = body(&Problem::new(Code::UnknownPair, "coin not found"));
        assert_eq!((status, unknown), (404, json!({"error": "coin not found"})));
    }
}
