//! Asking pods: what they answered in the middle of it all is kept, and held against the log when it has come
//! to rest.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::answers::Question;
use super::log::Log;
use crate::clock::now_ms;

/// How long one answer may take. A pod that is being killed does not answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// A pod that says that it has all of the log must have what the log had so long before: longer than a reader
/// may be silent before it looks, and a loaded machine is slow.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) sequence: u64,
    pub(super) body: Vec<u8>,
}

/// What a pod said of itself or of a pair, before it was known what is right.
#[derive(Debug)]
pub(super) struct Sighting {
    /// The pod, and what had happened to it.
    pub(super) whose: String,
    pub(super) seen: Seen,
}

#[derive(Debug)]
pub(super) enum Seen {
    /// An answer about a pair.
    Answer(Question, &'static str, Answer),
    /// It was ready at this time, with nothing missing, and answered from this sequence.
    Ready { time_ms: i64, sequence: u64 },
}

/// Asks pods.
pub(super) struct Client(reqwest::Client);

impl Client {
    pub(super) fn new() -> anyhow::Result<Self> {
        // A second installation fails, and is as good as the first.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        Ok(Self(reqwest::Client::builder().timeout(ANSWER_TIME).no_gzip().no_proxy().build()?))
    }

    pub(super) async fn get(&self, url: &str, path: &str) -> anyhow::Result<Answer> {
        let response = self.0.get(format!("{url}{path}")).send().await?;
        let sequence = response.headers().get("x-tickwell-sequence");
        let sequence = sequence.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
        let status = response.status().as_u16();
        Ok(Answer { status, sequence, body: response.bytes().await?.to_vec() })
    }

    /// Asks a pod how it is, and one thing more. Nothing of what it did not answer.
    pub(super) async fn look(&self, url: &str, question: Question, pair: &'static str) -> Vec<Seen> {
        let mut seen = Vec::new();
        let time_ms = now_ms();
        let ready = self.get(url, "/readyz?verbose").await;
        if let Ok(answer) = self.get(url, &question.path(pair)).await {
            if ready.is_ok_and(|ready| has_all(&ready)) {
                seen.push(Seen::Ready { time_ms, sequence: answer.sequence });
            }
            if answer.status == 200 {
                seen.push(Seen::Answer(question, pair, answer));
            }
        }
        seen
    }
}

impl Sighting {
    /// Holds it against a log that has come to rest.
    pub(super) fn check(&self, log: &Log) -> anyhow::Result<()> {
        let checked = match &self.seen {
            Seen::Answer(question, pair, answer) => {
                ensure!(
                    answer.sequence <= log.last(),
                    "{} answered from {}, and the log ends at {}: it has lost records",
                    self.whose,
                    answer.sequence,
                    log.last()
                );
                question.check(pair, log.up_to(answer.sequence), &answer.body)
            }
            Seen::Ready { time_ms, sequence } => is_ready(log, *time_ms, *sequence),
        };
        checked.with_context(|| self.whose.clone())
    }
}

fn is_ready(log: &Log, time_ms: i64, sequence: u64) -> anyhow::Result<()> {
    let needed = log.last_before(time_ms - i64::try_from(READY_WITHIN.as_millis())?);
    ensure!(
        sequence >= needed,
        "false ready: it said that it has all of the log and answered from {sequence}, and {READY_WITHIN:?} \
         before the log had {needed} records"
    );
    Ok(())
}

/// Whether a pod is ready, and says that it has all of the log.
fn has_all(ready: &Answer) -> bool {
    let body: Value = serde_json::from_slice(&ready.body).unwrap_or_default();
    let mut checks = body.get("checks").and_then(Value::as_array).into_iter().flatten();
    let is_log = |check: &&Value| check.get("name") == Some(&"log".into());
    let log = checks.find(is_log).and_then(|check| check.get("condition"));
    ready.status == 200 && log == Some(&"ready".into())
}
