//! Writes a log without a poller: any number of slots as fast as possible, with the message ids and expected sequences
//! that a poller uses.
//!
//! Tests compare the responses of pods with what was written.

use async_nats::jetstream::{self, context::PublishAckFuture, message::PublishMessage, stream::Config};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use testkit::nats::NatsServer;

use crate::records::{Point, time_text};

/// The definition that the poller creates the stream from.
const STREAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../nats/stream.json");

/// The largest number of unacknowledged messages.
const IN_FLIGHT: usize = 500;

/// The interval, and its notation in records.
pub(crate) const INTERVAL_MS: i64 = 60_000;
const INTERVAL: &str = "1m";

/// On average, one of this many records is a gap.
const GAP_IN: u32 = 40;

/// The maximum number of slots in a gap.
const LONGEST_GAP: i64 = 30;

/// The epoch of the only leader.
const EPOCH: u64 = 7;

/// Writes the log.
pub(crate) struct Author {
    log: jetstream::Context,
    chance: StdRng,
    /// The newest sequence of the log. There are no other writers.
    last: u64,
    chains: Vec<Chain>,
    written: Vec<Written>,
}

/// Where one pair's records end.
struct Chain {
    pair: &'static str,
    /// The next slot to write.
    next: i64,
    /// The sequence of the pair's newest record.
    newest: u64,
    cents: u64,
}

/// A tick or a gap, as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) sequence: u64,
    pub(crate) pair: &'static str,
    pub(crate) from: i64,
    pub(crate) slot: i64,
    /// A tick's price.
    pub(crate) price: Option<String>,
    /// A gap's cause, and how many sources were asked, if any.
    pub(crate) gap: Option<(&'static str, Option<usize>)>,
}

impl Author {
    /// Creates the stream, and writes a lead for each of these pairs. The first slot of each pair will be `slot`.
    pub(crate) async fn begin(nats: &NatsServer, seed: u64, pairs: &[&'static str], slot: i64) -> Self {
        let log = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
        let definition = std::fs::read(STREAM).unwrap();
        log.create_stream(serde_json::from_slice::<Config>(&definition).unwrap()).await.unwrap();
        let chains = pairs.iter().map(|pair| Chain { pair, next: slot, newest: 0, cents: 5_000_000 });
        let (chance, chains) = (StdRng::seed_from_u64(seed), chains.collect());
        let mut author = Self { log, chance, last: 0, chains, written: Vec::new() };
        let mut sent = Vec::new();
        for at in 0..author.chains.len() {
            let pair = author.chains[at].pair;
            let lead = json!({
                "version": 2, "kind": "lead", "pair": pair, "covered": null, "leader": "00000000000000a1",
                "epoch": EPOCH, "origin": "live",
            });
            sent.push(author.send(at, &format!("{pair}:lead:{EPOCH}"), &lead).await);
        }
        arrived(&mut sent).await;
        author
    }

    /// Writes this number of slots of every pair, and waits until the log has them.
    pub(crate) async fn write(&mut self, slots: i64) {
        let mut sent = Vec::new();
        let until = self.chains[0].next + slots * INTERVAL_MS;
        // Write in the order of the slots, like a poller, so pairs take turns.
        while let Some(at) = (0..self.chains.len()).min_by_key(|at| self.chains[*at].next) {
            if self.chains[at].next >= until {
                break;
            }
            let left = (until - self.chains[at].next) / INTERVAL_MS;
            sent.push(self.record(at, left).await);
            if sent.len() == IN_FLIGHT {
                arrived(&mut sent).await;
            }
        }
        arrived(&mut sent).await;
    }

    /// Writes slots until there are at least this many ticks and gaps.
    pub(crate) async fn write_up_to(&mut self, count: usize) {
        while self.written.len() < count {
            let short = i64::try_from(count - self.written.len()).unwrap();
            self.write(short / i64::try_from(self.chains.len()).unwrap() + 1).await;
        }
    }

    /// All ticks and gaps that were written, in the order of the log.
    pub(crate) fn written(&self) -> &[Written] {
        &self.written
    }

    /// The newest sequence of the log.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// All records of a pair up to a sequence, oldest first.
    pub(crate) fn up_to(&self, pair: &str, sequence: u64) -> impl DoubleEndedIterator<Item = &Written> {
        self.written.iter().filter(move |written| written.pair == pair && written.sequence <= sequence)
    }

    /// Writes the next record of a chain, which covers at most `left` slots.
    async fn record(&mut self, at: usize, left: i64) -> PublishAckFuture {
        let gap = self.chance.random_ratio(1, GAP_IN).then(|| match self.chance.random_bool(0.5) {
            true => ("no_leader", None, self.chance.random_range(1..=LONGEST_GAP).min(left)),
            false => ("too_few_sources", Some(1), 1),
        });
        let step = self.chance.random_range(0..2_001);
        let Chain { pair, next: from, cents, .. } = &mut self.chains[at];
        let (pair, from) = (*pair, *from);
        *cents = cents.saturating_sub(1_000).max(100) + step;
        let price = format!("{}.{:02}", *cents / 100, *cents % 100);
        let slot = from + gap.map_or(0, |(_, _, slots)| slots - 1) * INTERVAL_MS;
        let mut record = json!({
            "version": 2, "kind": "tick", "pair": pair, "slot": time_text(slot), "interval": INTERVAL,
            "epoch": EPOCH, "origin": "live",
        });
        if gap.is_none_or(|(_, asked, _)| asked.is_some()) {
            record["policy"] = json!({
                "rules": 1, "price": "mid", "min_sources": 1, "max_deviation": "0.02", "max_quote_age": "30s",
                "max_clock_skew": "5s", "frozen_after": "10m",
            });
            record["quotes"] = json!([{"source": "kraken", "verdict": "timeout"}]);
        }
        match gap {
            Some((cause, _, _)) => {
                record["kind"] = "gap".into();
                (record["from"], record["cause"]) = (time_text(from).into(), cause.into());
            }
            None => {
                let at = time_text(slot);
                (record["price"], record["spread"]) = (price.clone().into(), "0".into());
                record["quotes"] = json!([{
                    "source": "kraken", "price": price, "basis": "last", "last": price, "observed_at": at,
                    "source_time": null, "unchanged_since": at, "verdict": "used",
                }]);
            }
        }
        let acknowledged = self.send(at, &format!("{pair}:{}", time_text(slot)), &record).await;
        self.chains[at].next = slot + INTERVAL_MS;
        let price = gap.is_none().then_some(price);
        let gap = gap.map(|(cause, asked, _)| (cause, asked));
        self.written.push(Written { sequence: self.last, pair, from, slot, price, gap });
        acknowledged
    }

    async fn send(&mut self, at: usize, id: &str, record: &Value) -> PublishAckFuture {
        let chain = &mut self.chains[at];
        let message = PublishMessage::build()
            .message_id(id)
            .expected_last_subject_sequence(chain.newest)
            .payload(record.to_string().into());
        let subject = format!("ticks.{}", chain.pair.replace('-', "."));
        // There are no other writers, so the message gets the next sequence. If it got another one, the server would
        // refuse the pair's next message.
        self.last += 1;
        chain.newest = self.last;
        self.log.send_publish(subject, message).await.unwrap()
    }
}

async fn arrived(sent: &mut Vec<PublishAckFuture>) {
    for acknowledged in sent.drain(..) {
        acknowledged.await.unwrap();
    }
}

impl Written {
    /// The tick, as a point of history.
    pub(crate) fn point(&self) -> Option<Point> {
        let price = self.price.clone()?;
        Some(Point {
            sequence: self.sequence,
            slot: self.slot,
            interval: INTERVAL_MS,
            price,
            backfilled: false,
        })
    }

    /// The tick, as an item of `/history`.
    pub(crate) fn history_item(&self) -> Option<Value> {
        let price = self.price.as_ref()?;
        Some(
            json!({"slot": time_text(self.slot), "price": price, "sequence": self.sequence, "backfilled": false}),
        )
    }

    /// The event that a stream must send for this record.
    pub(crate) fn event(&self, log: &str) -> Value {
        let mut event = json!({
            "id": format!("{log}-{}", self.sequence), "pair": self.pair, "sequence": self.sequence,
            "slot": time_text(self.slot), "interval": INTERVAL, "epoch": EPOCH, "origin": "live",
        });
        match self.gap {
            None => (event["kind"], event["price"]) = ("tick".into(), self.price.clone().into()),
            Some((cause, _)) => {
                (event["kind"], event["cause"]) = ("gap".into(), cause.into());
                event["from"] = time_text(self.from).into();
            }
        }
        event
    }

    /// The gap, as an item of `/gaps`.
    pub(crate) fn gap_item(&self) -> Option<Value> {
        let (cause, asked) = self.gap?;
        Some(json!({
            "from": time_text(self.from), "to": time_text(self.slot),
            "slots": (self.slot - self.from) / INTERVAL_MS + 1, "interval": INTERVAL, "cause": cause, "backfilled": false,
            "sequence": self.sequence, "epoch": EPOCH, "sources": asked,
        }))
    }
}
