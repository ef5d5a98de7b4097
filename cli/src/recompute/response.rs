//! Records through a pod's answers.

use anyhow::{Context, Result, bail, ensure};
use common::{
    domain::{Record, Sequence},
    wire,
};
use serde_json::{Map, Value};

use super::found::Found;
use crate::pod::{PodClient, StatusCode, text};

/// The record at a position, as a pod explains it.
pub(super) async fn record(pod: &PodClient, sequence: Sequence) -> Result<Found> {
    let answer = pod.get(&format!("/v1/ticks/{sequence}")).await?;
    match answer.status {
        StatusCode::OK => {
            let explained = serde_json::from_slice(&answer.body);
            let explained = explained.with_context(|| format!("{sequence}: the answer is not JSON"))?;
            understand(explained, sequence).with_context(|| format!("{sequence}: the answer is no record"))
        }
        _ if answer.code() == "unknown_sequence" => {
            Ok(Found::Absent(text(&answer.object(), "detail").to_owned()))
        }
        _ => Err(pod.refusal(&answer).context(format!("{sequence} cannot be read"))),
    }
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

#[cfg(test)]
mod tests;
