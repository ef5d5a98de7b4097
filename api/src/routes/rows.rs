//! Lists that are served as JSON, CSV or NDJSON.

use http::HeaderMap;
use poem_openapi::{ResponseContent, types::Type};
use serde::Serialize;

use super::format::{self, Csv, FormatParameter, Ndjson};
use crate::{
    dto::Json,
    lines::{Line, LineFormat, Lines},
    problem::Problem,
};

/// A page of a list in one of its formats.
#[derive(ResponseContent)]
pub(super) enum Formatted<T: Type + Serialize + Send> {
    Json(Json<T>),
    Csv(Csv),
    Ndjson(Ndjson),
}

/// The format of a response.
#[derive(Clone, Copy)]
pub(super) struct ChosenFormat {
    format: FormatParameter,
    /// The `format` parameter of the request.
    parameter: Option<FormatParameter>,
}

impl ChosenFormat {
    pub(super) fn of(parameter: Option<FormatParameter>, headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self { format: format::choose(parameter, headers)?, parameter })
    }

    /// The `format` parameter for links to further pages.
    pub(super) fn query(self) -> String {
        self.parameter.map(|format| format!("format={}&", format.word())).unwrap_or_default()
    }

    /// Writes a page. `list` writes it as JSON, and `rows` are its items as lines.
    pub(super) fn page<T: Type + Serialize + Send, L: Line>(
        self,
        list: impl FnOnce() -> Json<T>,
        rows: impl Iterator<Item = L>,
    ) -> Result<Formatted<T>, Problem> {
        match self.format {
            FormatParameter::Json => Ok(Formatted::Json(list())),
            FormatParameter::Csv => Ok(Formatted::Csv(Csv(lines(LineFormat::Csv, rows)?))),
            FormatParameter::Ndjson => Ok(Formatted::Ndjson(Ndjson(lines(LineFormat::Ndjson, rows)?))),
        }
    }
}

fn lines<L: Line>(format: LineFormat, mut rows: impl Iterator<Item = L>) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut lines = Lines::begin::<L>(format, &mut bytes)?;
    rows.try_for_each(|row| lines.write(&row))?;
    lines.finish()?;
    Ok(bytes)
}
