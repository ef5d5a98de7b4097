//! The state of the log that a request reads from.

use std::sync::Arc;

use common::domain::Sequence;
use poem::{Request, RequestBody, error::GetDataError};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaParamIn, MetaSchemaRef},
};

use super::Lifetime;
use crate::dto::sequence_schema;
use ledger::snapshot::Snapshot;

/// The `at_sequence` of a request. A middleware of the server attaches it to the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pinned(pub(crate) Sequence);

/// The snapshot of a request, which a middleware of the server attached to the request. In the OpenAPI document, this
/// is the parameter `at_sequence`.
pub(super) struct AsOf {
    pub(super) snapshot: Arc<Snapshot>,
    /// The requested sequence, for links to further pages.
    pub(super) sequence: Option<Sequence>,
    /// Where the handler sets how long the response may be cached.
    pub(super) lifetime: Lifetime,
}

impl<'a> ApiExtractor<'a> for AsOf {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = u64;
    type ParamRawType = u64;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(sequence_schema())
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let snapshot = request.data::<Arc<Snapshot>>().cloned();
        let sequence = request.data::<Pinned>().map(|pinned| pinned.0);
        let lifetime = request.data::<Lifetime>().cloned().unwrap_or_default();
        Ok(Self { snapshot: snapshot.ok_or(GetDataError("the request's snapshot"))?, sequence, lifetime })
    }
}
