//! A running pod, asked over HTTP. The only part of the commands that knows how.
//!
//! - [`events`]: its stream of events.
//! - [`key`]: the key that it may ask for.

mod events;
mod key;

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::domain::Sequence;
use reqwest::{
    Url,
    header::{HeaderMap, RETRY_AFTER},
    redirect::Policy,
};
use serde_json::{Map, Value};

pub(crate) use events::Refusal;
pub(crate) use key::{Key, KeyArguments};
pub(crate) use reqwest::StatusCode;

/// A last bound on one request.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(20);

/// How long an answer that is read piece by piece may say nothing. The store is copied before it begins.
const MAX_SILENCE: Duration = Duration::from_secs(120);

/// More than any answer has: a page of 10,000 items is about 2 MB.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long a pod is waited for when it says that it is asked too often or too soon, each time.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How long it is waited for where it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);

/// How often in a row it may say so.
const MAX_WAITS: u32 = 10;

/// An address as it should be.
const EXAMPLE: &str = "http://127.0.0.1:8080";

/// The answer belongs to the log as of this position.
const SEQUENCE_HEADER: &str = "x-tickwell-sequence";

/// A pod, or any process that answers over HTTP as one does.
#[derive(Debug)]
pub(crate) struct PodClient {
    client: reqwest::Client,
    url: Url,
    /// What its address was given as.
    name: &'static str,
    key: Key,
}

/// What a pod said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// An answer that is read piece by piece.
#[derive(Debug)]
pub(crate) struct Download(reqwest::Response);

impl PodClient {
    /// The pod at an address that was given as `name`.
    pub(crate) fn new(name: &'static str, url: &str, key: &Key) -> Result<Self> {
        Self::streaming(name, url, key, MAX_SILENCE)
    }

    /// The same, where it is gone when it has said nothing for so long.
    pub(crate) fn streaming(name: &'static str, url: &str, key: &Key, silence: Duration) -> Result<Self> {
        let parsed: Url = url.parse().with_context(|| format!("{name}: `{url}` is not a URL"))?;
        ensure!(["http", "https"].contains(&parsed.scheme()), "{name}: write http://… or https://…");
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .default_headers(key.headers())
            .connect_timeout(MAX_REQUEST_TIME)
            .read_timeout(silence);
        let client = client.user_agent(concat!("tickwell/", env!("CARGO_PKG_VERSION"))).build()?;
        Ok(Self { client, url: parsed, name, key: key.clone() })
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Asks, and waits as long as the pod says that it is asked too often, or before it is so far.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        let url = format!("{}{path}", self.url());
        for _wait in 0..MAX_WAITS {
            let response = self.client.get(&url).timeout(MAX_REQUEST_TIME).send().await?;
            let answer = read(response).await.with_context(|| format!("GET {url}"))?;
            match answer.status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => {}
                _ => return Ok(answer),
            }
            let seconds = header(&answer.headers, RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
            tokio::time::sleep(seconds.map_or(DEFAULT_WAIT, Duration::from_secs).min(MAX_WAIT)).await;
        }
        bail!(
            "{} says again and again that it is asked too often, or is not so far: raise its api.rate_limit, or wait \
             until it follows the log",
            self.url()
        )
    }

    /// Asks the process beside this one, once, within `patience`. Nothing may answer in its place, neither a proxy nor
    /// where it would send us.
    pub(crate) async fn get_here(url: &str, path: &str, patience: Duration) -> Result<Answer> {
        let client =
            reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(patience).build()?;
        let answer = client.get(format!("{url}{path}")).send().await.map_err(|error| {
            let hint = if error.is_connect() { "; a poller only does where admin.listen is set" } else { "" };
            anyhow!(error).context(format!("{url} does not answer{hint}"))
        })?;
        read(answer).await
    }

    /// Asks for what is too long to be read at once.
    pub(crate) async fn download(&self, path: &str) -> Result<Download> {
        let url = format!("{}{path}", self.url());
        let response = self.client.get(&url).send().await?;
        if response.status() == StatusCode::OK {
            return Ok(Download(response));
        }
        Err(self.refusal(&read(response).await.with_context(|| format!("GET {url}"))?))
    }

    /// The sequence it answers from.
    pub(crate) async fn newest(&self) -> Result<Sequence> {
        let answer = self.get("/v1/pairs").await?;
        match answer.sequence() {
            Some(sequence) if answer.status == StatusCode::OK => Ok(sequence),
            _ => Err(self.refusal(&answer)),
        }
    }

    /// An answer that is not what was asked for, as an error.
    pub(crate) fn refusal(&self, answer: &Answer) -> anyhow::Error {
        let (url, status, name) = (self.url(), answer.status, self.name);
        if answer.code().is_empty() {
            return anyhow!(
                "{url} does not answer as a Tickwell pod does ({status}): {name} is the address of one alone, such \
                 as {EXAMPLE}"
            );
        }
        anyhow!("{url} answers {status}: {}", self.reason(answer))
    }

    /// Why it refuses, in words, and what helps where that is known here; empty where it does not say.
    pub(crate) fn reason(&self, answer: &Answer) -> String {
        let detail = text(&answer.object(), "detail").to_owned();
        match (answer.code().as_str(), self.url.path()) {
            ("unauthorized", _) => key::advice(&self.key),
            ("not_found", path) if path != "/" => {
                format!(
                    "{detail}; leave {path} off {}: it is the address alone, such as {EXAMPLE}",
                    self.name
                )
            }
            _ => detail,
        }
    }
}

impl Answer {
    /// The position of the log that it belongs to, if it says so.
    pub(crate) fn sequence(&self) -> Option<Sequence> {
        header(&self.headers, SEQUENCE_HEADER)?.parse().ok().map(Sequence)
    }

    /// Its body as an object; empty where it is none.
    pub(crate) fn object(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The stable word of an error; empty where there is none.
    pub(crate) fn code(&self) -> String {
        text(&self.object(), "code").to_owned()
    }
}

impl Download {
    /// How many bytes it will have, if the pod says so.
    pub(crate) fn length(&self) -> Option<u64> {
        self.0.content_length()
    }

    /// The next bytes; nothing at the end. An answer that was cut off is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>> {
        Ok(self.0.chunk().await?)
    }
}

/// A member of an object that is text; empty where there is none.
pub(crate) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn read(mut response: reqwest::Response) -> Result<Answer> {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        ensure!(
            body.len() + chunk.len() <= MAX_ANSWER_BYTES,
            "the answer has more than {MAX_ANSWER_BYTES} bytes"
        );
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body })
}

#[cfg(test)]
pub(crate) mod fake;
