//! Endpoints with layers around them.

use std::sync::Arc;

use futures::future::BoxFuture;
use poem::{
    Endpoint, EndpointExt, Request, Response, Result,
    endpoint::{DynEndpoint, ToDynEndpoint},
};

/// An endpoint that all connections share. Clones are cheap.
///
/// Layers are not added with the framework's `around`. Its future contains the request several times, and also the
/// futures of all layers inside. Copying such futures would take a third of the instructions for a kept answer. Here
/// each layer's future is allocated, and contains little more than the request.
#[derive(Clone)]
pub struct SharedEndpoint(Arc<dyn DynEndpoint<Output = Response>>);

impl SharedEndpoint {
    pub(crate) fn of(endpoint: impl Endpoint + 'static) -> Self {
        Self(Arc::new(ToDynEndpoint(endpoint.map_to_response())))
    }

    /// Adds a layer around this endpoint. The layer gets each request first.
    pub(crate) fn around<F>(self, layer: impl Fn(Self, Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        Self(Arc::new(Around { inner: self, layer }))
    }
}

impl Endpoint for SharedEndpoint {
    type Output = Response;

    fn call(&self, request: Request) -> impl Future<Output = Result<Response>> + Send {
        // `self.0.call(request)` would mean the future of `Endpoint for Arc`, which contains the request.
        DynEndpoint::call(&*self.0, request)
    }
}

struct Around<L> {
    inner: SharedEndpoint,
    layer: L,
}

impl<L, F> DynEndpoint for Around<L>
where
    L: Fn(SharedEndpoint, Request) -> F + Send + Sync,
    F: Future<Output = Result<Response>> + Send + 'static,
{
    type Output = Response;

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response>> {
        Box::pin((self.layer)(self.inner.clone(), request))
    }
}
