//! The route that shows and changes the filter of the log. Every process with an admin listener has it, even while it
//! waits for its log.

use common::telemetry::LogFilter;
use poem::{Body, Endpoint, EndpointExt, Response, get, handler, web::Data};

use crate::{problem::Problem, routes::Process};

/// The path of the route.
pub(crate) const LOG_FILTER_PATH: &str = "/admin/log-filter";

/// The longest filter that is accepted.
const MAX_FILTER_BYTES: usize = 4 * 1024;

/// The route, which is in the notation of the setting `log.level` in both directions.
pub(crate) fn log_filter_route(process: &Process) -> impl Endpoint + use<> {
    get(show).put(replace).data(process.log_filter.clone())
}

#[handler]
fn show(filter: Data<&LogFilter>) -> Response {
    plain(&filter)
}

#[handler]
async fn replace(filter: Data<&LogFilter>, body: Body) -> Result<Response, Problem> {
    let refuse = |detail: String| Problem::parameter("body", detail);
    let bytes = body.into_bytes_limit(MAX_FILTER_BYTES).await;
    let bytes = bytes.map_err(|_| refuse(format!("the filter is longer than {MAX_FILTER_BYTES} bytes")))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| refuse("the filter is not UTF-8".to_owned()))?;
    filter.replace(text.trim()).map_err(|error| refuse(error.to_string()))?;
    Ok(plain(&filter))
}

fn plain(filter: &LogFilter) -> Response {
    Response::builder().content_type("text/plain; charset=utf-8").body(filter.text() + "\n")
}
