//! The web page: a template, the files that it loads, and a table of prices for browsers without scripts. The page's
//! scripts get everything else from the other routes.

mod files;
mod plain;

use std::sync::Arc;

use poem::{
    Endpoint, EndpointExt, Request, Response, Result, Route,
    error::{GetDataError, NotFoundError},
    get, handler,
    web::{Data, Path},
};

use super::State;
use files::File;
use ledger::snapshot::Snapshot;

/// The path of the page.
pub(crate) const PAGE: &str = "/";

/// The path of the page's files. They are in a directory whose name is a hash of their content.
pub(crate) const PAGE_FILES: &str = "/web";

/// Where browsers look for an icon if a page, such as `/docs`, does not name one.
pub(crate) const ICON: &str = "/favicon.ico";

/// The name of the icon's file.
const ICON_FILE: &str = "icon.svg";

/// The content security policy of the page. Everything must come from the same pod, and scripts must not turn strings
/// into HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The `Cache-Control` of a file whose path changes with its content.
const CACHE_FOREVER: &str = "public, max-age=31536000, immutable";

/// The `Cache-Control` of a file that was requested under the path of another build.
const CACHE_NEVER: &str = "no-store";

/// What the page and the API say while the pod is starting.
pub(crate) const NOT_YET: &str = "the pod is still starting; /readyz?verbose says what it is waiting for";

/// What the page says without scripts if keys are required. The page has no prices then, because a browser cannot send
/// a key when it opens a page.
const KEY_NEEDED: &str = "this service needs an API key, which this page can only send with scripts enabled; programs \
    send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`";

/// The page of a pod.
#[derive(Clone)]
pub(crate) struct Page {
    /// The name of the directory with this build's files.
    build: Arc<str>,
    /// The page without its table of prices.
    html: Arc<str>,
    without_scripts: WithoutScripts,
}

/// What the page shows in a browser without scripts.
#[derive(Clone)]
enum WithoutScripts {
    Prices(Arc<State>),
    Reason(&'static str),
}

impl Page {
    /// The page of a pod that needs no key.
    pub(crate) fn open(state: &Arc<State>) -> Self {
        Self::new(WithoutScripts::Prices(state.clone()))
    }

    /// The page of a pod that needs a key.
    pub(crate) fn for_key_holders() -> Self {
        Self::new(WithoutScripts::Reason(KEY_NEEDED))
    }

    /// The page of a pod that is starting.
    pub(crate) fn starting() -> Self {
        Self::new(WithoutScripts::Reason(NOT_YET))
    }

    fn new(without_scripts: WithoutScripts) -> Self {
        let build = files::build();
        // Relative, like every address in the page: a proxy may serve the pod under a prefix that the pod does not know.
        let folder = PAGE_FILES.trim_start_matches('/');
        let html = files::TEMPLATE.replace("{{assets}}", &format!("{folder}/{build}"));
        Self { build: build.into(), html: html.into(), without_scripts }
    }

    /// Adds the page and its files to other routes.
    pub(crate) fn added_to(self, routes: Route) -> impl Endpoint {
        let page = Arc::new(get(get_page).data(self.clone()));
        let routes =
            routes.at(format!("{PAGE_FILES}/:build/:name"), get(get_file).data(self)).at(ICON, get(get_icon));
        // A service nested at `/` would also receive the requests for `/` itself, so those requests are handled before
        // they reach the service.
        routes.around(move |next, request| {
            let page = page.clone();
            async move {
                if request.uri().path() == PAGE { page.call(request).await } else { next.call(request).await }
            }
        })
    }
}

#[handler]
fn get_page(page: Data<&Page>, request: &Request) -> Result<Response> {
    let plain = match &page.without_scripts {
        WithoutScripts::Prices(state) => {
            let snapshot = request.data::<Arc<Snapshot>>().ok_or(GetDataError("the request's snapshot"))?;
            plain::prices(state, snapshot)
        }
        WithoutScripts::Reason(reason) => plain::no_prices(reason),
    };
    let response = Response::builder()
        .content_type("text/html; charset=utf-8")
        .header("Content-Security-Policy", POLICY)
        .body(page.html.replacen("{{noscript}}", &plain, 1));
    Ok(response)
}

#[handler]
fn get_file(page: Data<&Page>, asked: Path<(String, String)>) -> Result<Response> {
    let Path((build, name)) = asked;
    let file = File::named(&name).ok_or(NotFoundError)?;
    // During a rolling upgrade, a page from one pod may load its files from a pod of another build. Such a file must
    // not be cached under the path of the page's build.
    let caching = if build == *page.build { CACHE_FOREVER } else { CACHE_NEVER };
    Ok(Response::builder().content_type(file.content_type()).header("Cache-Control", caching).body(file.text))
}

#[handler]
fn get_icon() -> Result<Response> {
    let file = File::named(ICON_FILE).ok_or(NotFoundError)?;
    Ok(Response::builder().content_type(file.content_type()).body(file.text))
}
