//! An HTTP client of a running pod. All commands that send requests to a pod use it.
//!
//! - [`events`]: the event stream of a pod.
//! - [`key`]: the API key that a pod may require.

mod events;
mod key;

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::{domain::Sequence, text::one_line};
use reqwest::{
    Url,
    header::{HeaderMap, RETRY_AFTER},
    redirect::Policy,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub(crate) use events::StreamError;
pub(crate) use key::{Key, KeyArguments};
pub(crate) use reqwest::StatusCode;

/// The longest time that one request may take.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(20);

/// How long a pod may send nothing during a download. A pod copies its store before it sends the first byte.
const MAX_SILENCE: Duration = Duration::from_secs(120);

/// The largest response that is read into memory. A page of 10,000 items has about 2 MB.
const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;

/// The longest time to wait before one retry, whatever the pod asks for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long to wait before a retry if the pod sends no `Retry-After`.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);

/// How many times a request is sent before giving up.
const MAX_ATTEMPTS: u32 = 10;

/// The address of a pod with default settings. Commands use it if no address is given, and messages use it as an
/// example.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// The header with the sequence of the log that a response is about.
const SEQUENCE_HEADER: &str = "x-tickwell-sequence";

/// The header with the identity of the log that a pod follows.
const LOG_HEADER: &str = "x-tickwell-log";

/// A client of a pod, or of any process that serves the same routes.
#[derive(Debug)]
pub(crate) struct PodClient {
    client: reqwest::Client,
    url: Url,
    /// The flag or argument that the address was given with.
    name: &'static str,
    key: Key,
}

/// A response that has been read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A response that is read piece by piece.
#[derive(Debug)]
pub(crate) struct Download(reqwest::Response);

impl PodClient {
    /// A client of the pod at `url`, which was given with the flag or argument `name`.
    pub(crate) fn new(name: &'static str, url: &str, key: &Key) -> Result<Self> {
        Self::streaming(name, url, key, MAX_SILENCE)
    }

    /// Like [`Self::new`], but a response fails if the pod sends nothing for as long as `silence`.
    pub(crate) fn streaming(name: &'static str, url: &str, key: &Key, silence: Duration) -> Result<Self> {
        let parsed: Url = url.parse().with_context(|| format!("{name}: `{url}` is not a URL"))?;
        ensure!(
            ["http", "https"].contains(&parsed.scheme()),
            "{name}: `{url}` must start with http:// or https://"
        );
        // Pods are reached directly, even if the environment has a proxy for the internet.
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .default_headers(key.headers())
            .connect_timeout(MAX_REQUEST_TIME)
            .read_timeout(silence);
        let client = client.user_agent(concat!("tickwell/", env!("CARGO_PKG_VERSION"))).build()?;
        Ok(Self { client, url: parsed, name, key: key.clone() })
    }

    /// The address of the pod, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Sends a request. Waits and retries while the pod limits the rate (429), or has not reached a sequence yet (409).
    pub(crate) async fn get(&self, path: &str) -> Result<Response> {
        let url = format!("{}{path}", self.url());
        for _attempt in 0..MAX_ATTEMPTS {
            let request = self.client.get(&url).timeout(MAX_REQUEST_TIME);
            let response = request.send().await.with_context(|| self.unreachable())?;
            let response = read(response).await.with_context(|| format!("GET {url}"))?;
            match response.status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => {}
                _ => return Ok(response),
            }
            let wait = response.retry_after().unwrap_or(DEFAULT_WAIT).min(MAX_WAIT);
            tokio::time::sleep(wait).await;
        }
        bail!(
            "{} still limits the request rate, or has not caught up with the log, after {MAX_ATTEMPTS} attempts; raise \
             api.rate_limit in the settings of the pod, or try again later",
            self.url()
        )
    }

    /// Sends one request to a process on this machine or in this container, with a limit of `patience`. Ignores proxies
    /// and redirects, so that only that process can respond.
    pub(crate) async fn get_here(url: &str, path: &str, patience: Duration) -> Result<Response> {
        let client =
            reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(patience).build()?;
        let response = client.get(format!("{url}{path}")).send().await.map_err(|error| {
            let hint = match error.is_connect() {
                true => "; if the process is a poller, set admin.listen so that it can be checked",
                false => "",
            };
            anyhow!(error).context(format!("{url} does not respond{hint}"))
        })?;
        read(response).await
    }

    /// Requests a backup of the pod's store, which is too large to be read into memory.
    pub(crate) async fn download_backup(&self) -> Result<Download> {
        let url = format!("{}/admin/backup", self.url());
        let response = self.client.post(&url).send().await.with_context(|| self.unreachable())?;
        if response.status() == StatusCode::OK {
            return Ok(Download(response));
        }
        let refused = read(response).await.with_context(|| format!("POST {url}"))?;
        if refused.status == StatusCode::NOT_FOUND && self.url.path() == "/" && !refused.code().is_empty() {
            bail!(
                "{} makes no backups: it is the address of the API or of a poller; set {} to the address in admin.listen of \
                 a process that has a store",
                self.url(),
                self.name
            );
        }
        Err(self.refusal(&refused))
    }

    fn unreachable(&self) -> String {
        format!("{}: cannot reach {}; check the address and that the pod is running", self.name, self.url())
    }

    /// The newest sequence of the log that the pod has, and the identity of that log, which old versions do not send.
    pub(crate) async fn newest(&self) -> Result<(Sequence, Option<String>)> {
        let response = self.get("/v1/pairs").await?;
        match response.sequence() {
            Some(sequence) if response.status == StatusCode::OK => Ok((sequence, response.log())),
            _ => Err(self.refusal(&response)),
        }
    }

    /// The body of a successful response.
    pub(crate) fn parse<T: DeserializeOwned>(&self, response: &Response) -> Result<T> {
        if response.status != StatusCode::OK {
            return Err(self.refusal(response));
        }
        serde_json::from_slice(&response.body)
            .with_context(|| format!("{} does not respond like a Tickwell pod", self.url()))
    }

    /// An error that explains a response other than the expected one.
    pub(crate) fn refusal(&self, response: &Response) -> anyhow::Error {
        let (url, status, name) = (self.url(), response.status, self.name);
        if response.code().is_empty() {
            return anyhow!(
                "{url} does not respond like a Tickwell pod ({status}); set {name} to the address of a pod, without \
                 a path, such as {DEFAULT_URL}"
            );
        }
        anyhow!("{url} responded with {status}: {}", self.reason(response))
    }

    /// The reason that the pod gives for refusing a request, or a remedy if there is one for this command. Empty if the
    /// response gives no reason.
    pub(crate) fn reason(&self, response: &Response) -> String {
        let detail = one_line(text(&response.object(), "detail"));
        match (response.code().as_str(), self.url.path()) {
            ("unauthorized", _) => key::advice(&self.key),
            ("not_found", path) if path != "/" => {
                let name = self.name;
                format!(
                    "{detail}; remove {path} from {name}: it must be an address without a path, such as {DEFAULT_URL}"
                )
            }
            _ => detail,
        }
    }
}

impl Response {
    /// The sequence of the log that the response is about, if it has one.
    pub(crate) fn sequence(&self) -> Option<Sequence> {
        header(&self.headers, SEQUENCE_HEADER)?.parse().ok().map(Sequence)
    }

    /// The identity of the log that the response is about.
    fn log(&self) -> Option<String> {
        header(&self.headers, LOG_HEADER).map(str::to_owned)
    }

    /// How long to wait before the next request, according to the response's `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        header(&self.headers, RETRY_AFTER.as_str())?.parse().ok().map(Duration::from_secs)
    }

    /// The body as a JSON object; empty if it is something else.
    pub(crate) fn object(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The stable code of an error; empty if there is none.
    pub(crate) fn code(&self) -> String {
        text(&self.object(), "code").to_owned()
    }
}

impl Download {
    /// The size in bytes, if the pod sends it.
    pub(crate) fn length(&self) -> Option<u64> {
        self.0.content_length()
    }

    /// The next bytes, or `None` at the end. A response that was cut off is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>> {
        Ok(self.0.chunk().await?)
    }
}

/// A text member of an object; empty if it does not exist or is not a text.
pub(crate) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn read(mut response: reqwest::Response) -> Result<Response> {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        ensure!(
            body.len() + chunk.len() <= MAX_RESPONSE_BYTES,
            "the response is larger than {MAX_RESPONSE_BYTES} bytes"
        );
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status, headers, body })
}

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_text_of_a_hostile_pod_cannot_change_the_terminal() {
        let body = r#"{"code":"unknown_pair","detail":"no\u001b]0;title\u0007\nfake: line\u202e"}"#;
        let url = fake::start(move |_| (404, String::new(), body.to_owned())).await;
        let pod = PodClient::new("--url", &url, &Key::default()).unwrap();
        let refusal = pod.refusal(&pod.get("/v1/prices/X-Y").await.unwrap()).to_string();
        assert!(refusal.ends_with("no ]0;title  fake: line "), "{refusal:?}");
    }

    #[test]
    fn the_default_url_is_where_a_pod_listens_by_default() {
        let listen = api::ApiConfig::default().listen;
        assert_eq!(listen.get().map(|address| format!("http://{address}")).as_deref(), Some(DEFAULT_URL));
    }
}
