//! Measures how fast a log on a real nats-server is read into a store, as a pod does it. For comparison, the same log
//! is read with the client library's ordered push consumer, and its bytes are only counted. Both read the same payloads
//! from the same server, in turns.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::{self, consumer::push::OrderedConfig, message::PublishMessage};
use common::{
    bus::{
        self, BusConfig,
        nats::{Nats, Role},
    },
    domain::Sequence,
    metrics::Prices,
    readiness::Readiness,
    wire,
};
use futures::StreamExt;
use ledger::{
    ingest::{Checks, Ingest},
    snapshot::Snapshot,
    store::Store,
};
use testkit::nats::NatsServer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    contender::KEEP,
    ours::retention,
    report::{self, line, median},
    year::{self, Year},
};

/// The NATS stream as a poller creates it.
const DEFINITION: &str = include_str!("../../nats/stream.json");

/// The maximum number of unacknowledged records.
const IN_FLIGHT: usize = 500;

pub fn run(records: u64, rounds: u64) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(measure(records, rounds))
}

async fn measure(records: u64, rounds: u64) -> Result<()> {
    let server = NatsServer::start().await?;
    let bytes = publish(&server, records).await?;
    eprintln!("{records} records, {} bytes each", bytes / records);
    let (mut ours, mut plain) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Measure both in turns, so that other load on the machine affects both.
        let (first, second) = (round % 2 == 0, round % 2 == 1);
        if first {
            plain.push(count(&server, records, bytes).await?.as_secs_f64());
        }
        ours.push(follow(&server, records).await?.as_secs_f64());
        if second {
            plain.push(count(&server, records, bytes).await?.as_secs_f64());
        }
        eprintln!("round {round}: {:.2} s and {:.2} s", ours[ours.len() - 1], plain[plain.len() - 1]);
    }
    let rate = |seconds: Vec<f64>| records as f64 / median(seconds);
    let about = [
        format!("{records} records of {} bytes in a file stream, one server", bytes / records),
        format!("median of {rounds} rounds, in turns"),
        "Tickwell: read, decode, check, windows of a day, store with roll-ups and quotes of 7 days, as a pod does"
            .to_owned(),
        "the other: the ordered push consumer of async-nats, which counts bytes".to_owned(),
        "the target is a ratio of 0.5, and the stretch goal is 0.8".to_owned(),
    ];
    let lines = [line("records a second", "", rate(ours), rate(plain))];
    report::write("rebuild", "ordered push consumer", &about, &lines)
}

/// Fills the NATS stream. Returns the total size of the payloads.
pub async fn publish(server: &NatsServer, records: u64) -> Result<u64> {
    let context = jetstream::new(async_nats::connect(server.url()).await?);
    context.create_stream(serde_json::from_str::<jetstream::stream::Config>(DEFINITION)?).await?;
    let (mut bytes, mut newest) = (0, [0_u64; 2]);
    let mut waiting = std::collections::VecDeque::new();
    for stored in Year::new(3_650).take(usize::try_from(records)?) {
        let which = usize::from(stored.record.pair.to_string() != year::PAIRS[0]);
        let payload = wire::encode(&stored.record);
        bytes += payload.len() as u64;
        let subject = format!("ticks.{}", stored.record.pair.to_string().replace('-', "."));
        let message = PublishMessage::build()
            .message_id(stored.record.id())
            .expected_last_subject_sequence(newest[which])
            .payload(payload.into());
        newest[which] = stored.sequence.0;
        waiting.push_back(context.send_publish(subject, message).await?);
        if waiting.len() >= IN_FLIGHT {
            let acknowledged = waiting.pop_front().context("one is waiting")?;
            acknowledged.await?;
        }
    }
    for acknowledged in waiting {
        acknowledged.await?;
    }
    Ok(bytes)
}

/// Reads all messages with the ordered push consumer, and counts the bytes of their payloads. Returns how long that
/// took.
async fn count(server: &NatsServer, records: u64, bytes: u64) -> Result<Duration> {
    let client = async_nats::connect(server.url()).await?;
    let stream = jetstream::new(client.clone()).get_stream("TICKS").await?;
    let started = Instant::now();
    let config = OrderedConfig { deliver_subject: client.new_inbox(), ..OrderedConfig::default() };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    let (mut seen, mut counted) = (0, 0);
    while seen < records {
        let message = messages.next().await.context("the consumer ended")??;
        counted += message.payload.len() as u64;
        seen += 1;
    }
    let took = started.elapsed();
    ensure!(counted == bytes, "{counted} bytes of {bytes}");
    Ok(took)
}

/// Reads the whole log into a new store. Returns how long that took.
async fn follow(server: &NatsServer, records: u64) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let config = BusConfig { url: server.url(), ..BusConfig::default() };
    let registry = prometheus::Registry::new();
    let nats = Nats::connect(&config, Role::Api, &bus::Metrics::new(&registry)?).await?;
    let identity = nats.identity().await?;
    let started = Instant::now();
    let store = Store::open_copy(folder.path(), &identity, year::begin())?;
    let reader = nats.follow(identity, store.cursor()?, None);
    let (metrics, checks) =
        (ledger::Metrics::new(&registry, Prices::new(&registry)?)?, Checks::new(&Readiness::default()));
    let (ingest, snapshots) = Ingest::load(store, KEEP, retention(), metrics, checks)?;
    let stop = CancellationToken::new();
    let following = tokio::spawn(ingest.run(Box::new(reader), stop.clone()));
    reach(snapshots, Sequence(records)).await?;
    let took = started.elapsed();
    stop.cancel();
    following.await?.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(took)
}

async fn reach(mut snapshots: watch::Receiver<Arc<Snapshot>>, end: Sequence) -> Result<()> {
    let snapshot = snapshots.wait_for(|snapshot| snapshot.sequence >= end).await?;
    ensure!(snapshot.pairs.len() == 2);
    Ok(())
}
