//! Members whose values are words of a list. The document has an enum with a name for each list.

use std::{
    borrow::Cow,
    fmt::{Debug, Display},
    str::FromStr,
};

use common::domain::{Basis, GapCause, Origin, PriceRule, UnknownWord, Verdict, Words};
use poem_openapi::{
    registry::{MetaSchema, MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::stream_end::StreamEnd;

/// What the server will return under `/v1` in place of a word that a later release adds to a list, because clients that
/// were generated from an older document refuse words that they do not know. No release returns it yet.
pub const OTHER: &str = "other";

common::words! {
    /// The kind of a record.
    pub enum RecordKind ("kind of record") {
        /// The price of a slot.
        Tick = "tick",
        /// Slots without a price.
        Gap = "gap",
        /// A poller has taken over the pair.
        Lead = "lead",
    }
}

common::words! {
    /// What the log has for a time.
    pub enum Outcome ("outcome") {
        /// A price.
        Tick = "tick",
        /// A gap.
        Gap = "gap",
        /// No slot yet at that time.
        BeforeHistory = "before_history",
        /// No slot at that time so far.
        Future = "future",
    }
}

common::words! {
    /// The condition of a part of a process.
    pub enum CheckCondition ("condition") {
        /// Everything works.
        Ready = "ready",
        /// The process serves requests, but something is missing.
        Degraded = "degraded",
        /// The process should not receive requests.
        Unready = "unready",
    }
}

/// A list of words in the document.
pub trait Vocabulary: Display + FromStr<Err = UnknownWord> + Debug + Send + Sync + 'static {
    /// The name of the list's schema.
    const NAME: &'static str;
    /// What the words are about, for the document.
    const MEANING: &'static str;
    /// Whether the list may get longer. If so, the enum also has [`OTHER`].
    const MAY_GROW: bool;
    /// The words.
    fn words() -> Vec<&'static str>;
}

/// A word as a member of a response.
#[derive(Debug, Clone, Copy)]
pub struct Word<V>(pub V);

impl<V: Vocabulary> Type for Word<V> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        V::NAME.into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(V::NAME.to_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(V::NAME.to_owned(), |_| MetaSchema {
            description: Some(V::MEANING),
            enum_items: V::words().into_iter().chain(V::MAY_GROW.then_some(OTHER)).map(Value::from).collect(),
            ..MetaSchema::new("string")
        });
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<V: Display> Serialize for Word<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

// The framework requires every member of an `Object` to have these two conversions. Responses are written by
// `Serialize` instead.
impl<V: Vocabulary> ToJSON for Word<V> {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.to_string().into())
    }
}

impl<V: Vocabulary> ParseFromJSON for Word<V> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let value = value.unwrap_or_default();
        let word = value.as_str().map(str::parse).ok_or_else(|| ParseError::expected_type(value.clone()))?;
        word.map(Self).map_err(ParseError::custom)
    }
}

/// The text of a list that may get longer.
macro_rules! may_grow {
    ($meaning:literal, $treat_as:literal) => {
        concat!(
            $meaning,
            "\n\n`other` is reserved for words that later releases add, and is not returned yet. Treat it as ",
            $treat_as
        )
    };
}

pub(crate) fn all<W: Words>() -> Vec<&'static str> {
    W::ALL.iter().map(|word| word.as_str()).collect()
}

/// Describes a list whose words are the variants of an enum.
macro_rules! vocabulary {
    ($words:ty, $name:literal, $meaning:expr, may_grow = $may_grow:literal) => {
        impl $crate::word::Vocabulary for $words {
            const NAME: &'static str = $name;
            const MEANING: &'static str = $meaning;
            const MAY_GROW: bool = $may_grow;

            fn words() -> Vec<&'static str> {
                $crate::word::all::<$words>()
            }
        }
    };
}

pub(crate) use {may_grow, vocabulary};

vocabulary!(
    Origin,
    "Origin",
    "Where the records of a log come from: from exchanges now (`live`), from files (`replay`), or made up (`simulated`).",
    may_grow = false
);

vocabulary!(RecordKind, "RecordKind", "The kind of a record of the log.", may_grow = false);

vocabulary!(
    Outcome,
    "Outcome",
    "`tick` if the pair's newest slot at or before `time` has a tick; `gap` if that slot belongs to a gap; \
     `before_history` if history has no slot at or before `time`; `future` if `time` is after the pair's newest slot.",
    may_grow = false
);

vocabulary!(
    Basis,
    "Basis",
    "Where a source's price comes from: the midpoint of bid and ask (`mid`), the last trade (`last`), or the close of a \
     candle (`candle_close`).",
    may_grow = false
);

vocabulary!(
    PriceRule,
    "PriceRule",
    "Which price of a quote counts if the source returns both: `mid` for the midpoint of bid and ask, `last` for the last \
     trade.",
    may_grow = false
);

vocabulary!(
    CheckCondition,
    "CheckCondition",
    "`ready`, `degraded` (the process serves requests, but something is missing) or `unready`.",
    may_grow = false
);

vocabulary!(
    GapCause,
    "GapCause",
    may_grow!("Why there is no tick.", "a gap for an unknown reason."),
    may_grow = true
);

vocabulary!(
    StreamEnd,
    "StreamEnd",
    may_grow!(
        "Why the pod ended a stream. [/docs/errors](docs/errors#ends-of-streams) explains each word.",
        "`shutting_down`: reconnect with the id of the last event."
    ),
    may_grow = true
);

impl Vocabulary for Verdict {
    const NAME: &'static str = "Verdict";
    const MEANING: &'static str = may_grow!(
        "How a source's quote was used: `used`, or why it was not used, or why there is none.",
        "a quote that was not used."
    );
    const MAY_GROW: bool = true;

    fn words() -> Vec<&'static str> {
        Self::all().map(Self::as_str).collect()
    }
}
