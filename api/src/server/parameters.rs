//! Validation of parameters: a route accepts only the parameters that its handler declares.
//!
//! Otherwise a misspelt parameter would be ignored, and `?windw=1h` would have the same response as a request without a
//! window. The declarations are those that the OpenAPI document is generated from, so a new route needs no change here.

mod hints;

use std::{borrow::Cow, sync::Arc};

use common::domain::{Pair, nearest};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use poem::{Endpoint, IntoResponse, Request, Response, Result as PoemResult, error::NotFoundError};
use poem_openapi::{
    OpenApi,
    registry::{MetaOperationParam, MetaParamIn, MetaPath, MetaSchema, MetaSchemaRef, Registry},
};

use crate::{
    layers::SharedEndpoint,
    problem::{Code, Problem, READING},
    routes::accept_json,
};
use ledger::snapshot::Snapshot;

/// The prefix of the routes whose parameters are validated. The other routes accept any parameter, because operators'
/// tools may send their own.
const STRICT: &str = "/v1/";

/// The number of characters of an unknown name or value that a problem repeats.
const MAX_REPEATED: usize = 60;

/// The number of characters of a hint, which may repeat a path.
const MAX_HINT: usize = 240;

/// The method of the routes that cannot be read.
const WRITING: &str = "POST";

/// The media type of most routes.
const JSON: &str = "application/json";

/// Parameters that look like a request for the price at a time.
const OF_A_TIME: [&str; 5] = ["at", "time", "timestamp", "date", "when"];

/// The prefix of the routes for prices.
const PRICES: &str = "/v1/prices";

/// The route for the price at a time, as problems suggest it.
const PRICES_AT: &str = "/v1/prices/{pair}/at?time=2026-11-21T00:00:00Z";

/// The parameter of the routes with several formats.
const FORMAT: &str = "format";

/// The end of the route for gaps, and how to get gaps in another format.
const GAPS: &str = "/gaps";
const EXPORT_GAPS: &str = ". `tickwell export --gaps` writes gaps as CSV or NDJSON";

/// The documented routes and their parameters.
#[derive(Debug)]
pub(super) struct KnownRoutes(Vec<Route>);

#[derive(Debug)]
struct Route {
    /// The path as the document has it, such as `/v1/prices/{pair}`.
    template: String,
    /// The beginning of the path, up to its first parameter.
    beginning: String,
    /// The parts of the path between slashes.
    parts: Vec<Part>,
    parameters: Vec<Parameter>,
    /// A route has only one method.
    method: Method,
    /// Whether JSON is the only format of the route. The handlers of other routes read `Accept` themselves.
    is_json: bool,
}

#[derive(Debug)]
enum Part {
    Fixed(String),
    Parameter(String),
}

#[derive(Debug)]
struct Parameter {
    name: String,
    is_required: bool,
    accepts: Accepts,
}

#[derive(Debug)]
enum Accepts {
    /// Text that the handler parses.
    Text,
    /// One of these words.
    Words(Vec<String>),
    /// A whole number in a range.
    Number { min: u64, max: u64 },
    /// Texts, each in a parameter of its own.
    Repeated,
}

/// Refuses parameters that the route does not declare. If the path is not a route, the problem suggests the route that
/// was probably meant.
pub(super) async fn validate_parameters(
    next: SharedEndpoint,
    request: Request,
    known: Arc<KnownRoutes>,
) -> PoemResult<Response> {
    let (uri, snapshot) = (request.uri().clone(), request.data::<Arc<Snapshot>>().cloned());
    let pairs = || snapshot.iter().flat_map(|snapshot| snapshot.pairs.keys().copied()).collect::<Vec<Pair>>();
    known.check(&request, &pairs)?;
    match next.call(request).await {
        Err(error) if error.is::<NotFoundError>() => Err(known.not_found(uri.path(), &pairs()).into()),
        Err(error) if error.status() == StatusCode::METHOD_NOT_ALLOWED => {
            Err(Problem::method_not_allowed(known.methods(uri.path())).into())
        }
        result => Ok(result?.into_response()),
    }
}

impl KnownRoutes {
    /// The routes of an API, from its metadata.
    pub(super) fn of<A: OpenApi>() -> Self {
        let mut registry = Registry::new();
        A::register(&mut registry);
        let paths = A::meta().into_iter().flat_map(|api| api.paths);
        let mut routes: Vec<Route> = paths.map(|path| Route::of(&path, &registry)).collect();
        // If two routes match a path, the framework prefers the one with a fixed name where the other has a parameter.
        // So routes with fewer parameters come first here.
        routes.sort_by_key(|route| {
            route.parts.iter().filter(|part| matches!(part, Part::Parameter(_))).count()
        });
        Self(routes)
    }

    /// The templates of all routes.
    pub(super) fn templates(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|route| route.template.as_str())
    }

    /// The template of the route that fits a path.
    pub(super) fn template(&self, path: &str) -> Option<&str> {
        self.find(path).map(|route| route.template.as_str())
    }

    /// The route that fits a path. This is needed for each request, so most routes are ruled out by what is quick to
    /// compare.
    fn find(&self, path: &str) -> Option<&Route> {
        let parts = 1 + path.bytes().filter(|byte| *byte == b'/').count();
        let similar =
            |route: &&Route| route.parts.len() == parts && path.starts_with(route.beginning.as_str());
        self.0.iter().filter(similar).find(|route| route.fits(path))
    }

    /// The methods of the route that fits a path.
    fn methods(&self, path: &str) -> &'static str {
        if self.find(path).is_some_and(|route| route.method == Method::POST) { WRITING } else { READING }
    }

    /// Refuses parameters that are unknown, repeated, malformed or missing, and an `Accept` that excludes JSON if the
    /// route has no other format. A path that is not a route passes this check and
    /// gets a 404 later.
    fn check(&self, request: &Request, pairs: &impl Fn() -> Vec<Pair>) -> Result<(), Problem> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let route = Some(path).filter(|path| path.starts_with(STRICT)).and_then(|path| self.find(path));
        let Some(route) = route.filter(|route| route.method == request.method()) else { return Ok(()) };
        route.check_path(path, pairs)?;
        route.check_query(query, pairs)?;
        if route.is_json { accept_json(request.headers()) } else { Ok(()) }
    }

    /// The problem for a path that is not a route, with the route that was most likely meant.
    fn not_found(&self, path: &str, pairs: &[Pair]) -> Problem {
        let trimmed = path.trim_end_matches('/');
        let hint = if trimmed != path && self.find(trimmed).is_some() {
            format!("remove the slash at the end: {}", shortened(trimmed))
        } else if let Some(longer) = self.0.iter().find(|route| route.continues(trimmed)) {
            format!("did you mean `{}`?", longer.template)
        } else if let Some(hint) = hints::of_path(trimmed, pairs, |path| self.template(path).is_some()) {
            hint.chars().take(MAX_HINT).collect()
        } else if let Some(meant) = self.meant(path) {
            format!("did you mean `{}`?", shortened(&meant))
        } else {
            "see /docs".to_owned()
        };
        Problem::new(Code::NotFound, format!("there is no such route; {hint}"))
    }

    /// The path with one misspelt part corrected, if the corrected path is a route.
    fn meant(&self, path: &str) -> Option<String> {
        let given: Vec<&str> = path.split('/').collect();
        let slips: Vec<(usize, &str)> = self.0.iter().filter_map(|route| route.slip(&given)).collect();
        slips.iter().find_map(|(place, _)| {
            let names = slips.iter().filter(|(other, _)| other == place).map(|(_, name)| *name);
            let name = nearest(names, given.get(*place)?)?;
            let mut meant = given.clone();
            *meant.get_mut(*place)? = name;
            Some(meant.join("/"))
        })
    }
}

impl Route {
    fn of(path: &MetaPath, registry: &Registry) -> Self {
        let operations = path.operations.iter();
        let method = operations.clone().next().map_or(Method::GET, |operation| operation.method.clone());
        let parameters = operations.clone().flat_map(|operation| &operation.params);
        let query = parameters.filter(|parameter| parameter.in_type == MetaParamIn::Query);
        let responses = operations.flat_map(|operation| &operation.responses.responses);
        let is_success =
            |status| [StatusCode::OK, StatusCode::CREATED].iter().any(|ok| ok.as_u16() == status);
        let successes = responses.filter(|response| response.status.is_some_and(is_success));
        let formats: Vec<&str> =
            successes.flat_map(|response| &response.content).map(|content| content.content_type).collect();
        Self {
            template: path.path.clone(),
            beginning: path.path.split('{').next().unwrap_or_default().to_owned(),
            parts: path.path.split('/').map(Part::of).collect(),
            method,
            parameters: query.map(|parameter| Parameter::of(parameter, registry)).collect(),
            is_json: !formats.is_empty() && formats.iter().all(|format| format.starts_with(JSON)),
        }
    }

    fn fits(&self, path: &str) -> bool {
        let mut given = path.split('/');
        let fits = |part: &Part| match (part, given.next()) {
            (Part::Fixed(name), Some(given)) => name == given,
            (Part::Parameter(_), Some(given)) => !given.is_empty(),
            (_, None) => false,
        };
        self.parts.iter().all(fits) && given.next().is_none()
    }

    /// Whether the route is this path with one more part, which is a parameter.
    fn continues(&self, path: &str) -> bool {
        let before = self.template.rsplit_once("/{").map(|(before, _)| before);
        matches!(self.parts.last(), Some(Part::Parameter(_))) && before == Some(path)
    }

    /// The name and position of the only fixed part that differs from the given path, if everything else fits.
    fn slip(&self, given: &[&str]) -> Option<(usize, &str)> {
        let pairs = self.parts.iter().zip(given).enumerate();
        let mut slips = pairs.filter_map(|(place, (part, given))| match part {
            Part::Fixed(name) if name != given => Some((place, name.as_str())),
            _ => None,
        });
        let slip = slips.next().filter(|_| self.parts.len() == given.len());
        slip.filter(|_| slips.next().is_none())
    }

    fn check_path(&self, path: &str, pairs: &impl Fn() -> Vec<Pair>) -> Result<(), Problem> {
        for (part, given) in self.parts.iter().zip(path.split('/')) {
            if let Part::Parameter(name) = part {
                let given = percent_decode_str(given).decode_utf8().map_err(|_| not_utf8(name.clone()))?;
                check_pairs(name, &given, pairs)?;
            }
        }
        Ok(())
    }

    fn check_query(&self, query: &str, pairs: &impl Fn() -> Vec<Pair>) -> Result<(), Problem> {
        let mut seen = Vec::new();
        for given in query.split('&').filter(|given| !given.is_empty()) {
            let (name, value) = given.split_once('=').unwrap_or((given, ""));
            let name = decoded(name).ok_or_else(|| not_utf8(shortened(name)))?;
            let known = self.parameters.iter().enumerate().find(|(_, known)| known.name == name);
            let (index, known) = known.ok_or_else(|| self.unknown(&name))?;
            if seen.contains(&index) && !matches!(known.accepts, Accepts::Repeated) {
                return Err(Problem::parameter(known.name.clone(), "this parameter is repeated"));
            }
            seen.push(index);
            let value = decoded(value).ok_or_else(|| not_utf8(known.name.clone()))?;
            check_pairs(&known.name, &value, pairs)?;
            known.check(&value)?;
        }
        let mut missing = self.parameters.iter().enumerate().filter(|(index, _)| !seen.contains(index));
        missing.try_for_each(|(_, known)| known.check_missing())
    }

    fn unknown(&self, name: &str) -> Problem {
        let names = || self.parameters.iter().map(|known| known.name.as_str());
        if name == FORMAT && self.is_json {
            let export = if self.template.ends_with(GAPS) { EXPORT_GAPS } else { "" };
            return Problem::parameter(
                FORMAT,
                format!("this route only returns JSON; omit `{FORMAT}`{export}"),
            );
        }
        let meant = match OF_A_TIME.contains(&name) && self.template.starts_with(PRICES) {
            true if names().any(|known| known == "time") => Some("; did you mean `time`?".to_owned()),
            true => Some(format!("; for the price at a time, use {PRICES_AT}.")),
            false => nearest(names(), name).map(|nearest| format!("; did you mean `{nearest}`?")),
        };
        let all = names().collect::<Vec<_>>().join(", ");
        let accepted = if all.is_empty() { "none".to_owned() } else { all };
        let name = shortened(name);
        let meant = meant.unwrap_or_else(|| ".".to_owned());
        let detail = format!("this route has no parameter `{name}`{meant} Its parameters: {accepted}");
        Problem::parameter(name, detail)
    }
}

impl Parameter {
    fn of(parameter: &MetaOperationParam, registry: &Registry) -> Self {
        let accepts = match &parameter.schema {
            MetaSchemaRef::Inline(schema) => Accepts::of(schema),
            MetaSchemaRef::Reference(name) => registry.schemas.get(name).map_or(Accepts::Text, Accepts::of),
        };
        Self { name: parameter.name.clone(), is_required: parameter.required, accepts }
    }

    /// If a required parameter has a few values, names them. The handlers report other missing parameters.
    fn check_missing(&self) -> Result<(), Problem> {
        match &self.accepts {
            Accepts::Words(words) if self.is_required => {
                let detail = format!("this parameter is required; its values are {}", words.join(", "));
                Err(Problem::parameter(self.name.clone(), detail))
            }
            _ => Ok(()),
        }
    }

    fn check(&self, value: &str) -> Result<(), Problem> {
        let problem = |detail: String| Err(Problem::parameter(self.name.clone(), detail));
        match &self.accepts {
            Accepts::Number { min, max } => {
                let number = value.parse().ok().filter(|_| !value.starts_with('+'));
                match number.filter(|number| (*min..=*max).contains(number)) {
                    Some(_) => Ok(()),
                    None => problem(not_in_range(value, *min, *max)),
                }
            }
            Accepts::Words(words) if !words.iter().any(|word| word == value) => {
                let meant = hints::of_word(words, value)
                    .map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
                problem(format!("`{}` is not one of {}{meant}", shortened(value), words.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

impl Part {
    fn of(part: &str) -> Self {
        match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => Self::Parameter(name.to_owned()),
            None => Self::Fixed(part.to_owned()),
        }
    }
}

impl Accepts {
    fn of(schema: &MetaSchema) -> Self {
        let words: Vec<String> =
            schema.enum_items.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
        match schema.ty {
            "integer" if schema.format.is_some_and(|format| format.starts_with("uint")) => {
                let min = schema.minimum.and_then(whole).unwrap_or_default();
                Self::Number { min, max: schema.maximum.and_then(whole).unwrap_or(u64::MAX) }
            }
            "string" if !words.is_empty() => Self::Words(words),
            "array" => Self::Repeated,
            _ => Self::Text,
        }
    }
}

/// Refuses a text that is not a pair if it is known which pair of the log was meant. The handlers refuse the others.
fn check_pairs(name: &str, text: &str, pairs: &impl Fn() -> Vec<Pair>) -> Result<(), Problem> {
    let texts = match name {
        "pair" | "pairs" => text.split(','),
        _ => return Ok(()),
    };
    let mut meant = texts
        .filter(|text| text.parse::<Pair>().is_err())
        .filter_map(|text| hints::of_pair(text, &pairs()).map(|hint| (text, hint)));
    match meant.next() {
        Some((text, hint)) => {
            let detail = format!("`{}` is not a valid pair; {hint}", shortened(text));
            Err(Problem::parameter(name.to_owned(), detail))
        }
        None => Ok(()),
    }
}

/// A bound as a whole number. The framework stores bounds as floating-point numbers.
fn whole(bound: f64) -> Option<u64> {
    bound.to_string().parse().ok()
}

fn not_in_range(value: &str, min: u64, max: u64) -> String {
    let range = if max == u64::MAX { format!("of at least {min}") } else { format!("from {min} to {max}") };
    format!("`{}` is not a whole number {range}", shortened(value))
}

/// A parameter that must be a sequence and is not.
pub(super) fn not_a_sequence(parameter: String) -> Problem {
    Problem::parameter(parameter, "a sequence is a whole number of at least 1")
}

fn not_utf8(parameter: String) -> Problem {
    Problem::parameter(parameter, "the percent-encoded bytes are not UTF-8")
}

/// Decodes form encoding. `None` if the result is not UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_REPEATED).collect()
}
