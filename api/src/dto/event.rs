//! The events of streams.

use std::borrow::Cow;

use common::domain::{GapCause, Origin};
use poem_openapi::{
    Object,
    registry::{MetaDiscriminatorObject, MetaSchema, MetaSchemaRef, Registry},
    types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type},
};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{Nullable, PairText, PriceText, SpanText, TimeText, Word};
use crate::stream_end::StreamEnd;

/// One tick or gap in a stream.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum EventItem {
    /// A tick.
    Tick(TickEvent),
    /// A gap.
    Gap(GapEvent),
}

/// A tick in a stream.
#[derive(Debug, Object, Serialize)]
pub struct TickEvent {
    /// The event's cursor. Send it as `Last-Event-ID` or `after` to continue with the next event, on any pod.
    pub id: String,
    /// Always `tick`.
    pub kind: TickKind,
    /// The pair.
    pub pair: PairText,
    /// The record's position in the log.
    pub sequence: u64,
    /// The tick's slot.
    pub slot: TimeText,
    /// The distance between slots.
    pub interval: SpanText,
    /// The term of the poller that wrote the record.
    pub epoch: u64,
    /// Where the records of the log come from.
    pub origin: Word<Origin>,
    /// The agreed price.
    pub price: PriceText,
    /// True if the event is about slots before the pair's first live one. Absent otherwise. A stream has such events only
    /// if it was requested from an earlier position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfilled: Option<bool>,
}

/// A gap in a stream.
#[derive(Debug, Object, Serialize)]
pub struct GapEvent {
    /// The event's cursor. Send it as `Last-Event-ID` or `after` to continue with the next event, on any pod.
    pub id: String,
    /// Always `gap`.
    pub kind: GapKind,
    /// The pair.
    pub pair: PairText,
    /// The record's position in the log. Null if the log no longer had the records of these slots when this pod read
    /// the log.
    pub sequence: Nullable<u64>,
    /// The last slot of the gap.
    pub slot: TimeText,
    /// The first slot of the gap.
    pub from: TimeText,
    /// The distance between slots.
    pub interval: SpanText,
    /// The term of the poller that wrote the record. Null if `sequence` is null.
    pub epoch: Nullable<u64>,
    /// Where the records of the log come from.
    pub origin: Word<Origin>,
    /// Why there is no tick.
    pub cause: Word<GapCause>,
    /// True if the event is about slots before the pair's first live one. Absent otherwise. A stream has such events only
    /// if it was requested from an earlier position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfilled: Option<bool>,
}

/// The last line of a stream of NDJSON.
#[derive(Debug, Object, Serialize)]
pub struct EndEvent {
    /// Always `end`.
    pub kind: EndKind,
    /// Why the stream ends.
    pub code: Word<StreamEnd>,
    /// What to do next.
    pub detail: String,
}

/// The schemas of a stream's lines, by the kind that each has.
const LINES: [(&str, &str); 3] = [("tick", "TickEvent"), ("gap", "GapEvent"), ("end", "EndEvent")];

impl EventItem {
    /// The name of the schema.
    const SCHEMA: &str = "Event";

    /// The event's cursor and its kind.
    pub fn id_and_kind(&self) -> (&str, &'static str) {
        match self {
            Self::Tick(tick) => (&tick.id, TickKind::WORD),
            Self::Gap(gap) => (&gap.id, GapKind::WORD),
        }
    }

    /// The schema of one line.
    pub fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::SCHEMA.to_owned())
    }

    /// Adds the schemas of all lines to the document.
    pub fn register(registry: &mut Registry) {
        TickEvent::register(registry);
        GapEvent::register(registry);
        EndEvent::register(registry);
        let path = |(kind, schema): (&str, &str)| (kind.to_owned(), format!("#/components/schemas/{schema}"));
        registry.create_schema::<Self, _>(Self::SCHEMA.to_owned(), |_| MetaSchema {
            description: Some(
                "One line of a stream: a tick, a gap, or the reason why the stream ends. `kind` says which of them it \
                 is. As long as history is kept, a tick or gap has the same content whenever a client requests it. The \
                 quotes behind it are at `/v1/ticks/{sequence}`.",
            ),
            one_of: LINES.iter().map(|(_, schema)| MetaSchemaRef::Reference((*schema).to_owned())).collect(),
            discriminator: Some(MetaDiscriminatorObject {
                property_name: "kind",
                mapping: LINES.map(path).into(),
            }),
            ..MetaSchema::ANY
        });
    }
}

/// Defines the `kind` of one kind of line, which is always the same word.
macro_rules! kind {
    ($name:ident, $word:literal) => {
        /// Always the same word.
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl $name {
            const WORD: &'static str = $word;
        }

        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new(MetaSchema {
                    enum_items: vec![Self::WORD.into()],
                    ..MetaSchema::new("string")
                }))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(Self::WORD)
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                Some(Self::WORD.into())
            }
        }

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                let value = value.unwrap_or_default();
                if value == Self::WORD { Ok(Self) } else { Err(ParseError::expected_type(value)) }
            }
        }
    };
}

kind!(TickKind, "tick");
kind!(GapKind, "gap");
kind!(EndKind, "end");
