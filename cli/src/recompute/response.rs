//! Turns the response of a pod back into a record.

use anyhow::{Context, Result, bail, ensure};
use common::{
    domain::{Record, Sequence},
    wire,
};
use serde_json::{Map, Value};

use super::found::Found;
use crate::pod::{PodClient, StatusCode, text};

/// Reads the record at a sequence from a pod.
pub(super) async fn record(pod: &PodClient, sequence: Sequence) -> Result<Found> {
    let response = pod.get(&format!("/v1/ticks/{sequence}")).await?;
    match response.status {
        StatusCode::OK => {
            let members = serde_json::from_slice(&response.body);
            let members = members
                .with_context(|| format!("the response for sequence {sequence} is not a JSON object"))?;
            parse(members, sequence)
                .with_context(|| format!("the response for sequence {sequence} is not a record of this log"))
        }
        _ if response.code() == "unknown_sequence" => {
            Ok(Found::Absent(text(&response.object(), "detail").to_owned()))
        }
        _ => Err(pod.refusal(&response).context(format!("cannot read {sequence}"))),
    }
}

/// Parses the body of a response. The body has the members of the record in the log, and some more that only a response
/// has. This function removes the additional ones, and the codec of the log checks the others.
fn parse(mut members: Map<String, Value>, sequence: Sequence) -> Result<Found> {
    let found = members.remove("sequence");
    ensure!(found == Some(sequence.0.into()), "it has sequence {found:?}");
    let expired = members.remove("quotes_expired");
    let expired = expired.and_then(|expired| expired.as_bool()).context("quotes_expired is missing")?;
    if expired {
        let (kind, pair, slot) = (text(&members, "kind"), text(&members, "pair"), text(&members, "slot"));
        return Ok(Found::Expired(format!("{kind} {pair} {slot}")));
    }
    match members.get_mut("quotes") {
        Some(Value::Array(quotes)) => quotes.iter_mut().try_for_each(remove_nulls)?,
        Some(Value::Null) => {
            members.remove("quotes");
            ensure!(!members.contains_key("policy"), "it has a policy but no quotes");
        }
        _ => bail!("quotes is missing, or neither a list nor null"),
    }
    members.insert("version".to_owned(), wire::VERSION.into());
    let record: Record = wire::decode(&serde_json::to_vec(&members)?)?;
    Ok(Found::Record(Box::new(record)))
}

/// Removes the members of a quote that are null because the source returned no quote. The log does not have these
/// members.
fn remove_nulls(quote: &mut Value) -> Result<()> {
    const MEMBERS: [&str; 8] =
        ["price", "basis", "last", "bid", "ask", "observed_at", "source_time", "unchanged_since"];
    let quote = quote.as_object_mut().context("a quote is not an object")?;
    ensure!(MEMBERS.iter().all(|part| quote.contains_key(*part)), "a quote lacks one of {MEMBERS:?}");
    if quote.get("price") == Some(&Value::Null) {
        let all_null = MEMBERS.iter().all(|part| quote.remove(*part) == Some(Value::Null));
        ensure!(all_null, "a quote without a price has other members");
    }
    // The log leaves out what the source did not return.
    for part in ["last", "bid", "ask"] {
        if quote.get(part) == Some(&Value::Null) {
            quote.remove(part);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
