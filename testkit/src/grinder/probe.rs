//! Sends requests to pods between checks. The responses are compared with the log at the next check.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::answers::Question;
use super::log::Log;
use crate::clock::now_ms;

/// The timeout of a request. A pod that is being killed does not respond.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// If a pod reports that it has all of the log, it must have at least what the log contained this long ago. A pod that
/// receives nothing checks sooner than this whether the log has more.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(20);

/// A response.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) sequence: u64,
    pub(super) body: Vec<u8>,
}

/// An observation that is compared with the log later.
#[derive(Debug)]
pub(super) struct Sighting {
    /// The pod, and the damage to its store.
    pub(super) whose: String,
    pub(super) seen: Seen,
}

#[derive(Debug)]
pub(super) enum Seen {
    /// A response about a pair.
    Answer(Question, &'static str, Answer),
    /// At this time, the pod reported that it was ready and had all of the log. Its next response was at this sequence.
    Ready { time_ms: i64, sequence: u64 },
}

/// A client of pods.
pub(super) struct Client(reqwest::Client);

impl Client {
    pub(super) fn new() -> anyhow::Result<Self> {
        // Fails if a provider is already installed, which is fine.
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

    /// Requests a pod's readiness and one resource. Requests without a response are left out.
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
    /// Compares the observation with the complete log.
    pub(super) fn check(&self, log: &Log) -> anyhow::Result<()> {
        let checked = match &self.seen {
            Seen::Answer(question, pair, answer) => {
                ensure!(
                    answer.sequence <= log.last(),
                    "{} responded at sequence {}, but the log ends at {}: it has lost records",
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
        "false ready: the pod reported that it has all of the log and responded at sequence {sequence}, but \
         {READY_WITHIN:?} earlier the log already had {needed} records"
    );
    Ok(())
}

/// Whether a pod is ready and reports that it has all of the log.
fn has_all(ready: &Answer) -> bool {
    let body: Value = serde_json::from_slice(&ready.body).unwrap_or_default();
    let mut checks = body.get("checks").and_then(Value::as_array).into_iter().flatten();
    let is_log = |check: &&Value| check.get("name") == Some(&"log".into());
    let log = checks.find(is_log).and_then(|check| check.get("condition"));
    ready.status == 200 && log == Some(&"ready".into())
}
