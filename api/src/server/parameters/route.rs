//! A route: its path, and the parameters that it declares.

use common::domain::{Pair, nearest};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use poem_openapi::registry::{MetaParamIn, MetaPath, Registry};

use super::{
    decoded, not_utf8,
    parameter::{Parameter, check_pairs},
    shortened,
};
use crate::problem::Problem;

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

#[derive(Debug)]
pub(super) struct Route {
    /// The path as the document has it, such as `/v1/prices/{pair}`.
    pub(super) template: String,
    /// The beginning of the path, up to its first parameter.
    beginning: String,
    /// The parts of the path between slashes.
    parts: Vec<Part>,
    parameters: Vec<Parameter>,
    /// A route has only one method.
    pub(super) method: Method,
    /// Whether JSON is the only format of the route. The handlers of other routes read `Accept` themselves.
    pub(super) is_json: bool,
}

#[derive(Debug)]
enum Part {
    Fixed(String),
    Parameter(String),
}

impl Route {
    pub(super) fn of(path: &MetaPath, registry: &Registry) -> Self {
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

    /// How many parts of the path are parameters.
    pub(super) fn path_parameters(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Parameter(_))).count()
    }

    /// Compares what is quick to compare: the beginning of the path, and the number of its parts.
    pub(super) fn may_fit(&self, path: &str, parts: usize) -> bool {
        self.parts.len() == parts && path.starts_with(self.beginning.as_str())
    }

    pub(super) fn fits(&self, path: &str) -> bool {
        let mut given = path.split('/');
        let fits = |part: &Part| match (part, given.next()) {
            (Part::Fixed(name), Some(given)) => name == given,
            (Part::Parameter(_), Some(given)) => !given.is_empty(),
            (_, None) => false,
        };
        self.parts.iter().all(fits) && given.next().is_none()
    }

    /// Whether the route is this path with one more part, which is a parameter.
    pub(super) fn continues(&self, path: &str) -> bool {
        let before = self.template.rsplit_once("/{").map(|(before, _)| before);
        matches!(self.parts.last(), Some(Part::Parameter(_))) && before == Some(path)
    }

    /// The name and position of the only fixed part that differs from the given path, if everything else fits.
    pub(super) fn slip(&self, given: &[&str]) -> Option<(usize, &str)> {
        let pairs = self.parts.iter().zip(given).enumerate();
        let mut slips = pairs.filter_map(|(place, (part, given))| match part {
            Part::Fixed(name) if name != given => Some((place, name.as_str())),
            _ => None,
        });
        let slip = slips.next().filter(|_| self.parts.len() == given.len());
        slip.filter(|_| slips.next().is_none())
    }

    pub(super) fn check_path(&self, path: &str, pairs: &impl Fn() -> Vec<Pair>) -> Result<(), Problem> {
        for (part, given) in self.parts.iter().zip(path.split('/')) {
            if let Part::Parameter(name) = part {
                let given = percent_decode_str(given).decode_utf8().map_err(|_| not_utf8(name.clone()))?;
                check_pairs(name, &given, pairs)?;
            }
        }
        Ok(())
    }

    pub(super) fn check_query(&self, query: &str, pairs: &impl Fn() -> Vec<Pair>) -> Result<(), Problem> {
        let mut seen = Vec::new();
        for given in query.split('&').filter(|given| !given.is_empty()) {
            let (name, value) = given.split_once('=').unwrap_or((given, ""));
            let name = decoded(name).ok_or_else(|| not_utf8(shortened(name)))?;
            let known = self.parameters.iter().enumerate().find(|(_, known)| known.name == name);
            let (index, known) = known.ok_or_else(|| self.unknown(&name))?;
            if seen.contains(&index) && !known.is_repeated() {
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

impl Part {
    fn of(part: &str) -> Self {
        match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => Self::Parameter(name.to_owned()),
            None => Self::Fixed(part.to_owned()),
        }
    }
}
