//! A parameter of a route, and which values it accepts.

use common::domain::Pair;
use poem_openapi::registry::{MetaOperationParam, MetaSchema, MetaSchemaRef, Registry};

use super::{hints, shortened};
use crate::problem::Problem;

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
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

impl Parameter {
    pub(super) fn of(parameter: &MetaOperationParam, registry: &Registry) -> Self {
        let accepts = match &parameter.schema {
            MetaSchemaRef::Inline(schema) => Accepts::of(schema),
            MetaSchemaRef::Reference(name) => registry.schemas.get(name).map_or(Accepts::Text, Accepts::of),
        };
        Self { name: parameter.name.clone(), is_required: parameter.required, accepts }
    }

    /// Whether it may be given several times.
    pub(super) fn is_repeated(&self) -> bool {
        matches!(self.accepts, Accepts::Repeated)
    }

    /// If a required parameter has a few values, names them. The handlers report other missing parameters.
    pub(super) fn check_missing(&self) -> Result<(), Problem> {
        match &self.accepts {
            Accepts::Words(words) if self.is_required => {
                let detail = format!("this parameter is required; its values are {}", words.join(", "));
                Err(Problem::parameter(self.name.clone(), detail))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check(&self, value: &str) -> Result<(), Problem> {
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
pub(super) fn check_pairs(name: &str, text: &str, pairs: &impl Fn() -> Vec<Pair>) -> Result<(), Problem> {
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
