//! The page that people leave open: a template, the files that it loads, and the plain numbers for browsers that run
//! no scripts. Whatever else it shows, it asks the other routes for.

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

/// Where the page is.
pub(crate) const PAGE: &str = "/";

/// Below it are the files that the page loads, in a folder that is named after all of them.
pub(crate) const PAGE_FILES: &str = "/web";

/// Where browsers look for a picture of whatever they show, the documents included.
pub(crate) const ICON: &str = "/favicon.ico";

/// The picture's name among the files.
const ICON_FILE: &str = "icon.svg";

/// What the page may do: run, show and ask what comes from the same pod, and nothing else. It makes its elements one by
/// one, never out of text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// How long a file may be held whose name changes with it.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// How long another build's file may be held under the name that was asked for.
const NOT_AT_ALL: &str = "no-store";

/// What is told before anything is known.
pub(crate) const NOT_YET: &str = "nothing can be answered yet; /readyz?verbose says what is waited for";

/// What is told where a key is needed: a browser cannot send one when it opens a page.
const KEY_NEEDED: &str = "a key is needed here, which the page can send only by its scripts; programs send it as \
    `Authorization: Bearer KEY` or `X-API-Key: KEY`";

/// The page of a pod.
#[derive(Clone)]
pub(crate) struct Page {
    /// The name of this build's files.
    build: Arc<str>,
    /// The page, but for its plain numbers.
    html: Arc<str>,
    told: Told,
}

/// What is told without scripts.
#[derive(Clone)]
enum Told {
    Numbers(Arc<State>),
    Nothing(&'static str),
}

impl Page {
    /// The page of a pod that tells its numbers to anybody.
    pub(crate) fn open(state: &Arc<State>) -> Self {
        Self::telling(Told::Numbers(state.clone()))
    }

    /// The page of a pod that tells numbers to those who have a key.
    pub(crate) fn for_key_holders() -> Self {
        Self::telling(Told::Nothing(KEY_NEEDED))
    }

    /// The page of a pod that is starting.
    pub(crate) fn starting() -> Self {
        Self::telling(Told::Nothing(NOT_YET))
    }

    fn telling(told: Told) -> Self {
        let build = files::build();
        let html = files::TEMPLATE.replace("{{assets}}", &format!("{PAGE_FILES}/{build}"));
        Self { build: build.into(), html: html.into(), told }
    }

    /// Adds the page, and all that it loads.
    pub(crate) fn added_to(self, routes: Route) -> impl Endpoint {
        let page = Arc::new(get(get_page).data(self.clone()));
        let routes =
            routes.at(format!("{PAGE_FILES}/:build/:name"), get(get_file).data(self)).at(ICON, get(get_icon));
        // What is nested at `/` would be asked for `/` itself as well, whatever else is there.
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
    let plain = match &page.told {
        Told::Numbers(state) => {
            let snapshot = request.data::<Arc<Snapshot>>().ok_or(GetDataError("the request's snapshot"))?;
            plain::numbers(state, snapshot)
        }
        Told::Nothing(reason) => plain::no_numbers(reason),
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
    // While pods are replaced one by one, a page of the one asks the other for its files. These may be held by no
    // cache under that name.
    let held = if build == *page.build { FOR_EVER } else { NOT_AT_ALL };
    Ok(Response::builder().content_type(file.content_type()).header("Cache-Control", held).body(file.text))
}

#[handler]
fn get_icon() -> Result<Response> {
    let file = File::named(ICON_FILE).ok_or(NotFoundError)?;
    Ok(Response::builder().content_type(file.content_type()).body(file.text))
}
