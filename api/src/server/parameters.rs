//! What may be asked of a route: the parameters that the document gives it, and no others.
//!
//! A parameter that nobody reads would be passed over in silence, and `?windw=1h` answered as if no window had
//! been asked for. What is known here comes from the document that the service itself emits, so that a new
//! route is held to its own words without being named here.

use std::{borrow::Cow, collections::BTreeMap};

use common::domain::nearest;
use http::Method;
use percent_encoding::percent_decode_str;
use poem::Request;
use serde::Deserialize;

use crate::problem::{Code, Problem};

/// Where only what is known may be asked. Operators' tools have habits of their own.
const STRICT: &str = "/v1/";

/// How many characters of an unknown name or value are repeated: enough to recognize it.
const MAX_REPEATED: usize = 60;

/// The parameters of every route.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<Route>);

#[derive(Debug)]
struct Route {
    /// The parts between slashes.
    parts: Vec<Part>,
    parameters: Vec<Parameter>,
}

#[derive(Debug)]
enum Part {
    Fixed(String),
    Parameter(String),
}

#[derive(Debug)]
struct Parameter {
    name: String,
    takes: Takes,
}

#[derive(Debug)]
enum Takes {
    /// Whatever the route itself can read.
    Text,
    /// One of these words.
    Words(Vec<String>),
    /// A whole number in this range, as it is told.
    Number(String),
}

impl Known {
    /// Reads them from a document.
    pub(super) fn from_document(document: &str) -> Self {
        let Document { paths, components } = serde_json::from_str(document).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read our own document; unknown parameters are not refused");
            Document::default()
        });
        let route = |(path, methods): (&String, &Methods)| {
            let parameters = methods.get.iter().flat_map(|operation| &operation.parameters);
            let parameters = parameters.filter(|parameter| parameter.place == "query");
            Route {
                parts: path.split('/').map(Part::of).collect(),
                parameters: parameters.map(|parameter| parameter.known(&components)).collect(),
            }
        };
        let mut routes: Vec<Route> = paths.iter().map(route).collect();
        // Where a fixed name and a parameter both fit, the framework takes the name.
        routes.sort_by_key(|route| {
            route.parts.iter().filter(|part| matches!(part, Part::Parameter(_))).count()
        });
        Self(routes)
    }

    /// Refuses what a route does not know, what is said twice, and what cannot be read in any case. A route that
    /// is not there is not refused here.
    pub(super) fn check(&self, request: &Request) -> Result<(), Problem> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let is_plain = query.is_empty() && !path.contains('%');
        if is_plain || request.method() != Method::GET || !path.starts_with(STRICT) {
            return Ok(());
        }
        let Some(route) = self.0.iter().find(|route| route.fits(path)) else { return Ok(()) };
        route.check_path(path)?;
        route.check_query(query)
    }

    /// What to say where there is no route: which one was most likely meant.
    pub(super) fn missing(&self, path: &str) -> Problem {
        let trimmed = path.trim_end_matches('/');
        let hint = if trimmed != path && self.0.iter().any(|route| route.fits(trimmed)) {
            format!("there is one without the slash at the end: {}", shortened(trimmed))
        } else if let Some(meant) = self.meant(path) {
            format!("did you mean `{}`?", shortened(&meant))
        } else {
            "see /docs".to_owned()
        };
        Problem::new(Code::NotFound, format!("there is no such route; {hint}"))
    }

    /// The path with the one part put right that keeps it from being a route.
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
    fn fits(&self, path: &str) -> bool {
        let mut given = path.split('/');
        let fits = |part: &Part| match (part, given.next()) {
            (Part::Fixed(name), Some(given)) => name == given,
            (Part::Parameter(_), Some(given)) => !given.is_empty(),
            (_, None) => false,
        };
        self.parts.iter().all(fits) && given.next().is_none()
    }

    /// The one fixed part that is another one in a path that would fit otherwise, and where.
    fn slip(&self, given: &[&str]) -> Option<(usize, &str)> {
        let pairs = self.parts.iter().zip(given).enumerate();
        let mut slips = pairs.filter_map(|(place, (part, given))| match part {
            Part::Fixed(name) if name != given => Some((place, name.as_str())),
            _ => None,
        });
        let slip = slips.next().filter(|_| self.parts.len() == given.len());
        slip.filter(|_| slips.next().is_none())
    }

    fn check_path(&self, path: &str) -> Result<(), Problem> {
        for (part, given) in self.parts.iter().zip(path.split('/')) {
            if let Part::Parameter(name) = part {
                percent_decode_str(given).decode_utf8().map_err(|_| not_utf8(name.clone()))?;
            }
        }
        Ok(())
    }

    fn check_query(&self, query: &str) -> Result<(), Problem> {
        let mut seen = Vec::new();
        for given in query.split('&').filter(|given| !given.is_empty()) {
            let (name, value) = given.split_once('=').unwrap_or((given, ""));
            let name = decoded(name).ok_or_else(|| not_utf8(shortened(name)))?;
            let known = self.parameters.iter().enumerate().find(|(_, known)| known.name == name);
            let (index, known) = known.ok_or_else(|| self.unknown(&name))?;
            if seen.contains(&index) {
                return Err(Problem::parameter(known.name.clone(), "this parameter is given twice"));
            }
            seen.push(index);
            known.check(&decoded(value).ok_or_else(|| not_utf8(known.name.clone()))?)?;
        }
        Ok(())
    }

    fn unknown(&self, name: &str) -> Problem {
        let names = || self.parameters.iter().map(|known| known.name.as_str());
        let meant = nearest(names(), name).map(|nearest| format!("; did you mean `{nearest}`?"));
        let all = names().collect::<Vec<_>>().join(", ");
        let takes = if all.is_empty() { "none".to_owned() } else { all };
        let name = shortened(name);
        let meant = meant.unwrap_or_else(|| ".".to_owned());
        let detail = format!("this route has no parameter `{name}`{meant} It takes {takes}");
        Problem::parameter(name, detail)
    }
}

impl Parameter {
    fn check(&self, value: &str) -> Result<(), Problem> {
        let problem = |detail: String| Err(Problem::parameter(self.name.clone(), detail));
        match &self.takes {
            Takes::Number(range) if value.parse::<u64>().is_err() || value.starts_with('+') => {
                problem(format!("`{}` is not a whole number {range}", shortened(value)))
            }
            Takes::Words(words) if !words.iter().any(|word| word == value) => {
                let meant = nearest(words.iter().map(String::as_str), value)
                    .map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
                problem(format!("`{}` is not one of {}{meant}", shortened(value), words.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

fn not_utf8(parameter: String) -> Problem {
    Problem::parameter(parameter, "what is percent-encoded here is not UTF-8")
}

/// What a form's encoding stands for; nothing where that is not UTF-8.
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

/// The parts of an OpenAPI document that are read here.
#[derive(Debug, Default, Deserialize)]
struct Document {
    paths: BTreeMap<String, Methods>,
    #[serde(default)]
    components: Components,
}

#[derive(Debug, Deserialize)]
struct Methods {
    get: Option<Operation>,
}

#[derive(Debug, Deserialize)]
struct Operation {
    #[serde(default)]
    parameters: Vec<Documented>,
}

#[derive(Debug, Deserialize)]
struct Documented {
    name: String,
    #[serde(rename = "in")]
    place: String,
    schema: Schema,
}

#[derive(Debug, Default, Deserialize)]
struct Components {
    #[serde(default)]
    schemas: BTreeMap<String, Schema>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Schema {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    format: Option<String>,
    #[serde(deserialize_with = "unsigned")]
    minimum: Option<u64>,
    #[serde(deserialize_with = "unsigned")]
    maximum: Option<u64>,
    #[serde(rename = "enum")]
    words: Vec<serde_json::Value>,
}

/// A limit, where it is one that whole numbers from 0 up can have.
fn unsigned<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(serde_json::Value::deserialize(deserializer)?.as_u64())
}

impl Part {
    fn of(part: &str) -> Self {
        match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => Self::Parameter(name.to_owned()),
            None => Self::Fixed(part.to_owned()),
        }
    }
}

impl Documented {
    fn known(&self, components: &Components) -> Parameter {
        let named =
            self.schema.reference.as_ref().and_then(|reference| {
                components.schemas.get(reference.strip_prefix("#/components/schemas/")?)
            });
        Parameter { name: self.name.clone(), takes: named.unwrap_or(&self.schema).takes() }
    }
}

impl Schema {
    /// From where to where a whole number may be.
    fn range(&self) -> String {
        let least = self.minimum.unwrap_or_default();
        match self.maximum.filter(|most| *most < u64::MAX) {
            Some(most) => format!("from {least} to {most}"),
            None => format!("from {least} up"),
        }
    }

    fn takes(&self) -> Takes {
        let words: Vec<String> =
            self.words.iter().filter_map(serde_json::Value::as_str).map(str::to_owned).collect();
        let is_unsigned = self.format.as_ref().is_some_and(|format| format.starts_with("uint"));
        match self.kind.as_deref() {
            Some("integer") if is_unsigned => Takes::Number(self.range()),
            Some("string") if !words.is_empty() => Takes::Words(words),
            _ => Takes::Text,
        }
    }
}
