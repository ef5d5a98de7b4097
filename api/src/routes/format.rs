//! The format of a response, selected by `?format=` or by the `Accept` header.

use http::{HeaderMap, header};
use mime::Mime;
use poem::{IntoResponse, Response};
use poem_openapi::{
    Enum,
    payload::Payload,
    registry::{MetaSchema, MetaSchemaRef},
};

use crate::problem::{Code, Problem};

/// The formats of a route.
pub(super) trait Format: Copy + 'static {
    /// All formats in order of preference. The first one is the default.
    const ALL: &[Self];
    /// The detail of the problem for a client that accepts none of these formats.
    const NAMES: &str;

    /// The media type.
    fn type_and_subtype(self) -> (&'static str, &'static str);
}

/// The format of a response: the `format` parameter if there is one, otherwise what the client prefers.
pub(super) fn choose<F: Format>(parameter: Option<F>, headers: &HeaderMap) -> Result<F, Problem> {
    parameter.map_or_else(|| negotiate(headers), Ok)
}

/// Refuses a request whose `Accept` header excludes JSON, for routes that have no other format.
pub(crate) fn accept_json(headers: &HeaderMap) -> Result<(), Problem> {
    negotiate::<OnlyJson>(headers).map(|_| ())
}

/// The format of a route that has only one.
#[derive(Clone, Copy)]
struct OnlyJson;

impl Format for OnlyJson {
    const ALL: &[Self] = &[Self];
    const NAMES: &str =
        "this route supports application/json only; list it in the Accept header, or leave out Accept";

    fn type_and_subtype(self) -> (&'static str, &'static str) {
        ("application", "json")
    }
}

/// The request header that the responses of routes with several formats depend on.
pub(super) const VARY: &str = "Accept";

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(super) enum FormatParameter {
    /// One JSON object.
    Json,
    /// CSV with a header row.
    Csv,
    /// One JSON object per line.
    Ndjson,
}

impl FormatParameter {
    /// The value of the `format` parameter.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }
}

impl Format for FormatParameter {
    const ALL: &[Self] = &[Self::Json, Self::Csv, Self::Ndjson];
    const NAMES: &str = "this route supports application/json, text/csv and application/x-ndjson; list one of them in \
                         the Accept header, or use format=json, csv or ndjson";

    fn type_and_subtype(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("application", "json"),
            Self::Csv => ("text", "csv"),
            Self::Ndjson => ("application", "x-ndjson"),
        }
    }
}

/// A client's preference for a format: its quality in thousandths, and how specific the matching media range is.
type Preference = (u16, u8);

/// Content negotiation as in RFC 9110, 12.5.1: the quality of a media type is that of the most specific range in
/// `Accept` that matches the media type.
fn negotiate<F: Format>(headers: &HeaderMap) -> Result<F, Problem> {
    let texts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<Mime> =
        texts.flat_map(|text| text.split(',')).filter_map(|range| range.trim().parse().ok()).collect();
    let refused = || Problem::new(Code::NotAcceptable, F::NAMES);
    if ranges.is_empty() {
        return F::ALL.first().copied().ok_or_else(refused);
    }
    let accepted = F::ALL.iter().rev().filter_map(|format| Some((preference(&ranges, *format)?, *format)));
    // If the client likes several formats equally, `max_by_key` returns the last one. The list is reversed, so the last
    // one is our first choice.
    accepted.max_by_key(|(preference, _)| *preference).map(|(_, format)| format).ok_or_else(refused)
}

fn preference(ranges: &[Mime], format: impl Format) -> Option<Preference> {
    let (kind, subtype) = format.type_and_subtype();
    let specificity = |range: &Mime| match (range.type_().as_str(), range.essence_str()) {
        ("*", "*/*") => Some(0),
        (of, _) if of == kind && range.subtype() == mime::STAR => Some(1),
        (of, _) if of == kind && range.subtype() == subtype && range.suffix().is_none() => Some(2),
        _ => None,
    };
    let matching = ranges.iter().filter_map(|range| Some((specificity(range)?, range)));
    let (specificity, range) = matching.max_by_key(|(specificity, _)| *specificity)?;
    Some((quality(range), specificity)).filter(|(quality, _)| *quality > 0)
}

/// The quality of a range in thousandths. The quality is 1,000 if `q` is missing or cannot be parsed.
fn quality(range: &Mime) -> u16 {
    let thousandths = |text: &str| {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        // Use exactly three decimal places: missing ones are zero, and further ones are ignored.
        let part: u16 = format!("{part:0<3}").get(..3)?.parse().ok()?;
        Some((whole.parse::<u16>().ok()?.saturating_mul(1_000) + part).min(1_000))
    };
    range.get_param("q").and_then(|q| thousandths(q.as_str())).unwrap_or(1_000)
}

/// Lines of CSV.
pub(super) struct Csv(pub(super) Vec<u8>);

/// Lines of JSON.
pub(super) struct Ndjson(pub(super) Vec<u8>);

/// The full media type of CSV responses.
const CSV_WITH_HEADER: &str = "text/csv; charset=utf-8; header=present";

fn text_schema(description: &'static str) -> MetaSchemaRef {
    let schema = MetaSchema { description: Some(description), ..MetaSchema::new("string") };
    MetaSchemaRef::Inline(Box::new(schema))
}

impl Payload for Csv {
    const CONTENT_TYPE: &'static str = "text/csv";

    fn schema_ref() -> MetaSchemaRef {
        text_schema("A header row, then one item per row. The link to the next page is in the `Link` header.")
    }
}

impl Payload for Ndjson {
    const CONTENT_TYPE: &'static str = "application/x-ndjson";

    fn schema_ref() -> MetaSchemaRef {
        text_schema("One item of the list per line. The link to the next page is in the `Link` header.")
    }
}

impl IntoResponse for Csv {
    fn into_response(self) -> Response {
        Response::builder().content_type(CSV_WITH_HEADER).body(self.0)
    }
}

impl IntoResponse for Ndjson {
    fn into_response(self) -> Response {
        Response::builder().content_type(Self::CONTENT_TYPE).body(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> Option<FormatParameter> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        negotiate(&headers).ok()
    }

    #[test]
    fn the_format_is_the_one_that_the_client_prefers() {
        use FormatParameter::{Csv, Json, Ndjson};
        assert_eq!(choose(None, &HeaderMap::new()).ok(), Some(Json));
        for (accept, expected) in [
            ("", Some(Json)),
            ("*/*", Some(Json)),
            ("nonsense", Some(Json)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(Json)),
            ("application/json", Some(Json)),
            ("text/csv", Some(Csv)),
            ("TEXT/CSV", Some(Csv)),
            ("text/*", Some(Csv)),
            ("text/csv; header=present; charset=utf-8", Some(Csv)),
            ("application/x-ndjson", Some(Ndjson)),
            ("application/*", Some(Json)),
            ("application/*, application/json;q=0.5", Some(Ndjson)),
            ("text/csv, application/json", Some(Json)),
            ("text/csv, */*", Some(Csv)),
            ("text/csv;q=0.9, */*;q=0.95", Some(Json)),
            ("text/csv;q=0.31, application/x-ndjson;q=0.4, application/json;q=0.305", Some(Ndjson)),
            ("application/json;q=0, */*;q=0.1", Some(Csv)),
            ("application/json;q=0.000, text/*;q=0, */*", Some(Ndjson)),
            ("text/csv;q=1.000", Some(Csv)),
            ("text/csv;q=0", None),
            ("*/*;q=0", None),
            ("text/html", None),
            ("application/problem+json", None),
            ("application/vnd.x+json", None),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
    }
}
