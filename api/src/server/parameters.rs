//! Validation of parameters: a route accepts only the parameters that its handler declares.
//!
//! Otherwise a misspelt parameter would be ignored, and `?windw=1h` would have the same response as a request without a
//! window. The declarations are those that the OpenAPI document is generated from, so a new route needs no change here.

mod hints;
mod parameter;
mod route;

use std::{borrow::Cow, sync::Arc};

use common::domain::{Pair, nearest};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use poem::{Endpoint, IntoResponse, Request, Response, Result as PoemResult, error::NotFoundError};
use poem_openapi::{OpenApi, registry::Registry};

use crate::{
    problem::{Code, Problem, READING},
    routes::accept_json,
};
use ledger::snapshot::Snapshot;
use route::Route;

/// The prefix of the routes whose parameters are validated. The other routes accept any parameter, because operators'
/// tools may send their own.
const STRICT: &str = "/v1/";

/// The number of characters of an unknown name or value that a problem repeats.
const MAX_REPEATED: usize = 60;

/// The number of characters of a hint, which may repeat a path.
const MAX_HINT: usize = 240;

/// The method of the routes that cannot be read.
const WRITING: &str = "POST";

/// The documented routes and their parameters.
#[derive(Debug)]
pub(super) struct KnownRoutes(Vec<Route>);

/// Refuses parameters that the route does not declare. If the path is not a route, the problem suggests the route that
/// was probably meant.
pub(super) async fn validate_parameters<E: Endpoint>(
    next: Arc<E>,
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
        routes.sort_by_key(Route::path_parameters);
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
        self.0.iter().find(|route| route.may_fit(path, parts) && route.fits(path))
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
