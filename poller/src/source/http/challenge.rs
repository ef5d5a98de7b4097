//! Recognizes the pages with which content delivery networks check for browsers.

use reqwest::header::HeaderMap;

/// The header in which Cloudflare says that a response is a challenge.
const CLOUDFLARE_HEADER: (&str, &str) = ("cf-mitigated", "challenge");

/// Texts in challenge pages of Cloudflare and Imperva.
const MARKS: [&str; 6] = [
    "_Incapsula_Resource",
    "/cdn-cgi/challenge-platform",
    "cf-browser-verification",
    "cf_chl_opt",
    "<title>Just a moment...",
    "<title>Attention Required! | Cloudflare",
];

/// Whether a response is a page that checks for browsers. Other pages, such as those about errors, are not.
pub(super) fn is_challenge(headers: &HeaderMap, body: &str) -> bool {
    let (name, value) = CLOUDFLARE_HEADER;
    let is_page = body.trim_start().starts_with('<');
    headers.get(name).is_some_and(|found| found == value)
        || (is_page && MARKS.iter().any(|mark| body.contains(mark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_told_from_other_pages() {
        let none = HeaderMap::new();
        for page in [
            r#"<html><head></head><body><iframe src="/_Incapsula_Resource?CWUDNSAI=21"></iframe></body></html>"#,
            "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>",
        ] {
            assert!(is_challenge(&none, page), "{page}");
        }
        for other in [
            "",
            "error code: 1015",
            "<html><title>api.kraken.com | 520: Web server is returning an unknown error</title></html>",
            r#"{"message":"_Incapsula_Resource"}"#,
        ] {
            assert!(!is_challenge(&none, other), "{other}");
        }
        let marked = HeaderMap::from_iter([("cf-mitigated".parse().unwrap(), "challenge".parse().unwrap())]);
        assert!(is_challenge(&marked, ""));
    }
}
