//! Records through a pod's answers.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use common::{
    domain::{Record, Sequence},
    wire,
};
use reqwest::{Response, StatusCode, Url, header::RETRY_AFTER, redirect::Policy};
use serde_json::{Map, Value};

use super::records::Found;

/// A last bound on one request.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(20);

/// More than any answer has: a record has 64 kB at most, and an answer says little more.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// How long a pod is waited for when it says that it is asked too often, each time.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How often in a row it may say so.
const MAX_WAITS: u32 = 10;

/// A pod, or any process that answers `/v1`.
pub(super) struct Pod {
    client: reqwest::Client,
    url: Url,
}

impl Pod {
    /// The pod at this address.
    pub(super) fn new(url: &str) -> Result<Self> {
        let url: Url = url.parse().with_context(|| format!("--url: `{url}` is not a URL"))?;
        ensure!(["http", "https"].contains(&url.scheme()), "--url: write http://… or https://…");
        let client = reqwest::Client::builder().redirect(Policy::none()).timeout(MAX_REQUEST_TIME);
        let client = client.user_agent(concat!("tickwell/", env!("CARGO_PKG_VERSION"))).build()?;
        Ok(Self { client, url })
    }

    /// The sequence it answers from.
    pub(super) async fn newest(&self) -> Result<Sequence> {
        let (status, response) = self.get("/v1/pairs").await?;
        let header = response.headers().get("x-tickwell-sequence").and_then(|value| value.to_str().ok());
        match header.and_then(|text| text.parse().ok()) {
            Some(sequence) if status == StatusCode::OK => Ok(Sequence(sequence)),
            _ => bail!("{} does not answer as a Tickwell pod does ({status})", self.url),
        }
    }

    /// The record at a position.
    pub(super) async fn record(&self, sequence: Sequence) -> Result<Found> {
        let (status, response) = self.get(&format!("/v1/ticks/{sequence}")).await?;
        let body = read(response).await?;
        let answer = || serde_json::from_slice::<Map<String, Value>>(&body);
        match status {
            StatusCode::OK => {
                let answer = answer().with_context(|| format!("{sequence}: the answer is not JSON"))?;
                understand(answer, sequence).with_context(|| format!("{sequence}: the answer is no record"))
            }
            status => match answer().unwrap_or_default() {
                problem if problem.get("code").is_some_and(|code| code == "unknown_sequence") => {
                    Ok(Found::Absent(text(&problem, "detail").to_owned()))
                }
                problem => bail!("{sequence}: {} answers {status}: {}", self.url, text(&problem, "detail")),
            },
        }
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Response)> {
        let url = format!("{}{path}", self.url.as_str().trim_end_matches('/'));
        for _wait in 0..MAX_WAITS {
            let response = self.client.get(&url).send().await?;
            if response.status() != StatusCode::TOO_MANY_REQUESTS {
                return Ok((response.status(), response));
            }
            let seconds =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            tokio::time::sleep(seconds.map_or(MAX_WAIT, Duration::from_secs).min(MAX_WAIT)).await;
        }
        bail!("{} answers that it is asked too often: raise its api.rate_limit", self.url)
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        ensure!(
            body.len() + chunk.len() <= MAX_ANSWER_BYTES,
            "the answer has more than {MAX_ANSWER_BYTES} bytes"
        );
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The record that an answer explains: its fields are those of the log, but for the ones that only an answer
/// has. The codec checks the rest as it does for the log.
fn understand(mut answer: Map<String, Value>, sequence: Sequence) -> Result<Found> {
    let found = answer.remove("sequence");
    ensure!(found == Some(sequence.0.into()), "it is about {found:?}");
    let expired = answer.remove("quotes_expired");
    let expired = expired.and_then(|expired| expired.as_bool()).context("it does not say quotes_expired")?;
    if expired {
        let (kind, pair, slot) = (text(&answer, "kind"), text(&answer, "pair"), text(&answer, "slot"));
        return Ok(Found::Expired(format!("{kind} {pair} {slot}")));
    }
    match answer.get_mut("quotes") {
        Some(Value::Array(quotes)) => quotes.iter_mut().try_for_each(leave_out_nothing)?,
        Some(Value::Null) => {
            answer.remove("quotes");
            ensure!(!answer.contains_key("policy"), "it has a policy without quotes");
        }
        _ => bail!("it does not say what became of its quotes"),
    }
    answer.insert("version".to_owned(), wire::VERSION.into());
    let record: Record = wire::decode(&serde_json::to_vec(&answer)?)?;
    Ok(Found::Record(Box::new(record)))
}

/// Where a source gave no quote, an answer says null for each part of it, and the log nothing at all.
fn leave_out_nothing(quote: &mut Value) -> Result<()> {
    const PARTS: [&str; 4] = ["price", "observed_at", "source_time", "unchanged_since"];
    let quote = quote.as_object_mut().context("a quote is not an object")?;
    ensure!(PARTS.iter().all(|part| quote.contains_key(*part)), "a quote lacks one of {PARTS:?}");
    if quote.get("price") == Some(&Value::Null) {
        let nothing = PARTS.iter().all(|part| quote.remove(*part) == Some(Value::Null));
        ensure!(nothing, "a quote without a price has other parts of one");
    }
    Ok(())
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
