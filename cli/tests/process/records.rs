//! The records of a log, read back through the API, one by one.

pub(crate) use testkit::records::{Kind, Point, Quote, Record, Span, Time, decimal, points, time, time_text};

use crate::harness::{Answer, Pod};

/// Every record up to the pod's sequence. There must be one at every sequence.
pub(crate) async fn all(pod: &Pod) -> Vec<Record> {
    all_but(pod, &[]).await
}

/// Every record up to the pod's sequence. There must be one at every sequence except those of `foreign` messages.
pub(crate) async fn all_but(pod: &Pod, foreign: &[u64]) -> Vec<Record> {
    let mut records = Vec::new();
    for sequence in 1..=pod.sequence().await {
        let answer = pod.get(&format!("/v1/ticks/{sequence}")).await;
        if foreign.contains(&sequence) {
            assert_eq!((answer.status, &answer.json()["code"]), (404, &"unknown_sequence".into()));
        } else {
            records.push(read(&answer, sequence));
        }
    }
    records
}

/// The record at a sequence.
pub(crate) async fn at(pod: &Pod, sequence: u64) -> Record {
    read(&pod.get(&format!("/v1/ticks/{sequence}")).await, sequence)
}

fn read(answer: &Answer, sequence: u64) -> Record {
    assert_eq!(answer.status, 200, "sequence {sequence}: {}", answer.text());
    let record = Record::read(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()));
    assert_eq!(record.sequence, sequence);
    record
}
