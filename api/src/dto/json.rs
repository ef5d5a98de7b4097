//! Responses as JSON, serialized directly from their types.

use std::marker::PhantomData;

use poem::{IntoResponse, Response};
use poem_openapi::{
    ApiResponse,
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;

use crate::problem::Problem;

/// A response in JSON, serialized when it is created. So a large one that is created on a thread for blocking work does
/// not hold up the others. Its members are in the order in which the type declares them.
///
/// The framework's own JSON payload is not used, because it goes through `serde_json::Value`, which sorts members by
/// name.
#[derive(Debug)]
pub struct Json<T> {
    encoded: Result<Vec<u8>, serde_json::Error>,
    of: PhantomData<fn(T)>,
}

impl<T: Serialize> Json<T> {
    /// Serializes a value.
    pub fn of(value: T) -> Self {
        Self { encoded: serde_json::to_vec(&value), of: PhantomData }
    }
}

impl<T> Json<T> {
    /// A value that has been serialized.
    pub fn written(json: String) -> Self {
        Self { encoded: Ok(json.into_bytes()), of: PhantomData }
    }
}

impl<T: Type> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = "application/json; charset=utf-8";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match self.encoded {
            Ok(body) => Response::builder().content_type(Self::CONTENT_TYPE).body(body),
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

impl<T: Type> ApiResponse for Json<T> {
    fn meta() -> MetaResponses {
        let content = MetaMediaType { content_type: Self::CONTENT_TYPE, schema: T::schema_ref() };
        let response = MetaResponse {
            description: "",
            status: Some(200),
            status_range: None,
            content: vec![content],
            headers: Vec::new(),
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
