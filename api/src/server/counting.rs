//! Counts the requests of clients by route, including those that fail.

use std::{sync::Arc, time::Duration};

use http::Method;
use poem::Response;

use super::parameters::KnownRoutes;
use crate::{
    metrics::Metrics,
    problem::{Code, ERRORS_PATH},
    routes::{ICON, PAGE, PAGE_FILES},
};

/// The routes that are not in the OpenAPI document.
const UNDOCUMENTED: [&str; 7] =
    [PAGE, ICON, ERRORS_PATH, "/docs", "/openapi.json", "/asyncapi.yaml", "/metrics"];

/// The route of the page's files.
const PAGE_FILE: &str = "/web/{build}/{name}";

/// The route of a request that no route fits, as OpenTelemetry's conventions want it.
const NO_ROUTE: &str = "";

/// Counts requests.
pub(super) struct Counting {
    metrics: Metrics,
    known: Arc<KnownRoutes>,
}

impl Counting {
    pub(super) fn new(metrics: Metrics, known: Arc<KnownRoutes>) -> Self {
        known.templates().chain(UNDOCUMENTED).chain([PAGE_FILE]).for_each(|route| metrics.expect(route));
        Self { metrics, known }
    }

    /// The template of the route that fits a path, such as `/v1/prices/{pair}`.
    pub(super) fn route(&self, path: &str) -> &str {
        let undocumented = || UNDOCUMENTED.into_iter().find(|route| *route == path);
        let is_file = || path.strip_prefix(PAGE_FILES).is_some_and(|rest| rest.starts_with('/'));
        let file = || is_file().then_some(PAGE_FILE);
        self.known.template(path).or_else(undocumented).or_else(file).unwrap_or(NO_ROUTE)
    }

    /// Counts a request and its response.
    pub(super) fn count(&self, method: &str, route: &str, response: &Response, took: Duration) {
        self.metrics.answered(method, route, response.status().as_str(), took);
        if let Some(code) = response.data::<Code>() {
            self.metrics.problem(*code);
        }
    }
}

/// The method, as metrics and traces name it. Clients can invent methods, so unknown ones share one name.
pub(super) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
