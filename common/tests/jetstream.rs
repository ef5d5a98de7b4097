//! Tests of the log on JetStream with a real nats-server: the fence, the newest record, the reader and the lease.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use async_nats::jetstream;
use bytes::Bytes;
use common::{
    bus::{
        AppendError, Batch, BusConfig, Entry, LogReader, LogWriter, Metrics, ReadError,
        lease::{Claim, Hold, Lease as _},
        nats::{Nats, NatsError, NatsLease, NatsReader, NatsWriter, Role},
    },
    domain::{Body, Epoch, Lead, Origin, Pair, Record, Sequence, Span},
    wire,
};
use prometheus::Registry;
use testkit::{
    nats::{LateServer, NatsServer},
    require_nats,
};

fn pair() -> Pair {
    "BTC-USD".parse().unwrap()
}

fn metrics() -> Metrics {
    Metrics::new(&Registry::new()).unwrap()
}

fn lead(epoch: u64) -> Record {
    Record {
        pair: pair(),
        epoch: Epoch(epoch),
        origin: Origin::Live,
        body: Body::Lead(Lead { covered: None, backfilled: false, leader: None }),
    }
}

struct World {
    server: NatsServer,
    nats: Nats,
    lease: Arc<NatsLease>,
    writer: NatsWriter,
    /// A separate connection without any restrictions.
    outside: jetstream::Context,
}

async fn world() -> World {
    world_with(Span::from_seconds(60)).await
}

async fn world_with(span: Span) -> World {
    let server = NatsServer::start().await.unwrap();
    let config = BusConfig { url: server.url(), ..BusConfig::default() };
    let nats = Nats::connect(&config, Role::Poller, &metrics()).await.unwrap();
    let lease = Arc::new(NatsLease::open(nats.clone(), span).await.unwrap());
    let writer = NatsWriter::open(nats.clone(), lease.clone()).await.unwrap();
    let outside = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    World { server, nats, lease, writer, outside }
}

impl World {
    /// Appends a lead, and retries until that succeeds.
    async fn append(&self, epoch: u64, after: Sequence) -> Sequence {
        let append = async || self.writer.append(&lead(epoch), after).await.ok();
        testkit::wait_until("the record is stored", Duration::from_secs(60), append).await
    }

    /// Appends five records, of which only the last one stays in the log.
    async fn keep_the_last_of_five(&self) -> Sequence {
        let mut last = Sequence(0);
        for epoch in 1..=5 {
            last = self.writer.append(&lead(epoch), last).await.unwrap();
        }
        let mut config = self.outside.get_stream("TICKS").await.unwrap().cached_info().config.clone();
        config.max_messages = 1;
        self.outside.update_stream(config).await.unwrap();
        last
    }

    async fn put(&self, subject: &'static str) -> u64 {
        self.outside.publish(subject, "foreign".into()).await.unwrap().await.unwrap().sequence
    }
}

#[tokio::test]
async fn the_fence_rejects_an_unexpected_sequence() {
    require_nats!();
    let world = world().await;
    assert_eq!(world.writer.newest(pair()).await.unwrap().sequence, Sequence(0));
    assert_eq!(world.writer.origin().await.unwrap(), None);
    let first = world.writer.append(&lead(1), Sequence(0)).await.unwrap();
    let refused = world.writer.append(&lead(2), Sequence(0)).await;
    assert!(matches!(refused, Err(AppendError::WrongLastSequence)), "{refused:?}");
    let second = world.writer.append(&lead(2), first).await.unwrap();
    let newest = world.writer.newest(pair()).await.unwrap();
    assert_eq!((newest.sequence, newest.record), (second, Some(lead(2))));
    assert_eq!(world.writer.origin().await.unwrap(), Some(Origin::Live));
}

#[tokio::test]
async fn a_duplicate_that_the_server_drops_does_not_count_as_stored() {
    require_nats!();
    let world = world().await;
    world.writer.append(&lead(1), Sequence(0)).await.unwrap();
    let foreign = world.put("ticks.BTC.USD").await;
    // The expected sequence is right, but the id is known: the server reports a duplicate and stores nothing.
    let repeated = world.writer.append(&lead(1), Sequence(foreign)).await;
    assert!(matches!(repeated, Err(AppendError::WrongLastSequence)), "{repeated:?}");
}

#[tokio::test]
async fn a_record_below_many_foreign_messages_is_found_or_the_search_fails_with_an_error() {
    require_nats!();
    let world = world().await;
    for _message in 0..20 {
        world.put("ticks.BTC.USD").await;
    }
    assert_eq!(
        world.writer.newest(pair()).await.unwrap().record,
        None,
        "the search reached the first message"
    );
    let foreign = world.put("ticks.BTC.USD").await;
    let stored = world.writer.append(&lead(1), Sequence(foreign)).await.unwrap();
    for _message in 0..20 {
        world.put("ticks.BTC.USD").await;
    }
    let newest = world.writer.newest(pair()).await.unwrap();
    assert_eq!(newest.record, Some(lead(1)));
    assert_eq!(newest.sequence, Sequence(stored.0 + 20));

    for _batch in 0..101 {
        let mut sent = Vec::new();
        for _message in 0..100 {
            sent.push(world.outside.publish("ticks.BTC.USD", "foreign".into()).await.unwrap());
        }
        for acknowledgement in sent {
            acknowledgement.await.unwrap();
        }
    }
    let buried = world.writer.newest(pair()).await;
    assert!(matches!(buried, Err(ReadError::Buried { .. })), "{buried:?}");
}

#[tokio::test]
async fn a_reader_continues_after_its_cursor_and_reports_when_it_has_caught_up() {
    require_nats!();
    let world = world().await;
    let identity = world.nats.identity().await.unwrap();
    let mut empty = world.nats.follow(identity.clone(), Sequence(0), None);
    assert!(empty.next().await.unwrap().entries.is_empty());
    let mut last = Sequence(0);
    for epoch in 1..=30 {
        last = world.writer.append(&lead(epoch), last).await.unwrap();
    }
    world.put("ticks.BTC.USD").await;
    for begin in [0, 12] {
        let mut reader = world.nats.follow(identity.clone(), Sequence(begin), None);
        let mut seen = Vec::new();
        while seen.len() < usize::try_from(31 - begin).unwrap() {
            let batch = tokio::time::timeout(Duration::from_secs(60), reader.next()).await.unwrap().unwrap();
            seen.extend(batch.entries);
            if seen.last().is_some_and(|entry| entry.sequence.0 == 31) {
                assert_eq!(batch.pending, 0);
            }
        }
        let records = seen.iter().filter(|entry| entry.record().is_ok()).count();
        assert_eq!(records, seen.len() - 1, "the foreign message is there, and is not a record");
        let expected: Vec<Sequence> = (begin + 1..=31).map(Sequence).collect();
        assert_eq!(seen.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), expected);
    }
    let beyond = world.nats.follow(identity, Sequence(99), None).next().await;
    assert!(matches!(beyond, Err(ReadError::Replaced(_))), "{beyond:?}");
}

/// Returns the reader's next result, and ignores empty batches and temporary errors.
async fn next_of(reader: &mut NatsReader) -> Result<Batch, ReadError> {
    testkit::wait_until("the reader returns something", Duration::from_secs(60), async || {
        match reader.next().await {
            Ok(batch) if batch.entries.is_empty() => None,
            Err(error) if error.trouble().is_some() => None,
            result => Some(result),
        }
    })
    .await
}

#[tokio::test]
async fn a_reader_never_continues_in_a_stream_that_replaced_its_own() {
    require_nats!();
    let world = world().await;
    let identity = world.nats.identity().await.unwrap();
    world.writer.append(&lead(1), Sequence(0)).await.unwrap();
    let mut reader = world.nats.follow(identity.clone(), Sequence(0), None);
    assert_eq!(next_of(&mut reader).await.unwrap().entries.len(), 1);
    held(&world.lease, None).await;
    world.outside.delete_stream("TICKS").await.unwrap();
    // The new stream is longer than the old one. A reader that compared only sequences would continue with the second
    // record of the new stream.
    let mut last = Sequence(0);
    for epoch in 2..=9 {
        last = world.append(epoch, last).await;
    }
    // A reader that has not seen any message can only compare the log's identity.
    let newcomer = world.nats.follow(identity, Sequence(0), None);
    for mut reader in [reader, newcomer] {
        let result = next_of(&mut reader).await;
        assert!(matches!(result, Err(ReadError::Replaced(_))), "{result:?}");
    }
}

#[tokio::test]
async fn a_leader_that_reports_the_end_of_the_log_late_is_asked_again() {
    require_nats!();
    let world = world().await;
    let late = LateServer::start(&world.server.url()).await.unwrap();
    let config = BusConfig { url: late.url().to_owned(), ..BusConfig::default() };
    let nats = Nats::connect(&config, Role::Api, &metrics()).await.unwrap();
    let identity = nats.identity().await.unwrap();
    let mut last = Sequence(0);
    for epoch in 1..=12 {
        last = world.writer.append(&lead(epoch), last).await.unwrap();
    }
    let mut reader = nats.follow(identity, Sequence(0), None);
    while reader.next().await.unwrap().entries.last().is_none_or(|entry| entry.sequence < last) {}
    let mut next_error = async || loop {
        if let Err(error) = reader.next().await {
            return error;
        }
    };
    // Once, the log seems to be shorter than what the reader has.
    late.report(12, 10, 1);
    let error = next_error().await;
    assert!(matches!(error, ReadError::InDoubt(_)), "{error:?}");
    assert_eq!(late.remaining(), 0);
    // It stays shorter.
    late.report(12, 10, usize::MAX);
    let error = next_error().await;
    assert!(matches!(error, ReadError::Replaced(_)), "{error:?}");
}

#[tokio::test]
async fn a_reader_recognises_its_log_by_the_newest_message_it_has_seen() {
    require_nats!();
    let world = world().await;
    let identity = world.nats.identity().await.unwrap();
    let mut last = Sequence(0);
    for epoch in 1..=5 {
        last = world.writer.append(&lead(epoch), last).await.unwrap();
    }
    let seen = |epoch: u64| Entry {
        sequence: Sequence(3),
        id: Some(lead(epoch).id()),
        payload: wire::encode(&lead(epoch)).into(),
        trace: None,
    };
    let mut reader = world.nats.follow(identity.clone(), Sequence(3), Some(seen(3)));
    let entries = next_of(&mut reader).await.unwrap().entries;
    assert_eq!(entries.first().map(|entry| entry.sequence), Some(Sequence(4)));
    let mut reader = world.nats.follow(identity.clone(), Sequence(3), Some(seen(7)));
    let result = next_of(&mut reader).await;
    assert!(matches!(result, Err(ReadError::Replaced(_))), "{result:?}");
    // If the cursor is at the end of the log, the reader notices that the message there differs from the one it has
    // seen, before it reports that it has caught up.
    let at_end = Entry { sequence: Sequence(5), ..seen(7) };
    let result = world.nats.follow(identity, Sequence(5), Some(at_end)).next().await;
    assert!(matches!(result, Err(ReadError::Replaced(_))), "{result:?}");
}

#[tokio::test]
async fn a_newest_message_that_has_expired_does_not_stop_the_reader() {
    require_nats!();
    let world = world().await;
    let identity = world.nats.identity().await.unwrap();
    world.keep_the_last_of_five().await;
    let gone = Entry { sequence: Sequence(3), id: None, payload: Bytes::new(), trace: None };
    let entries = next_of(&mut world.nats.follow(identity.clone(), Sequence(3), Some(gone.clone()))).await;
    assert_eq!(entries.unwrap().entries[0].sequence, Sequence(5));
    // The message that the reader has seen no longer exists, and there is no message after the cursor. The reader
    // reports that it has caught up.
    let caught_up = world.nats.follow(identity, Sequence(5), Some(gone)).next().await.unwrap();
    assert!(caught_up.entries.is_empty());
}

/// Polls a future at most so many times, and then drops it.
async fn poll_times<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let (mut future, mut polled) = (pin!(future), 0);
    poll_fn(|context| {
        if polled == times {
            return Poll::Ready(None);
        }
        polled += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_call_that_is_cancelled_loses_no_message() {
    require_nats!();
    let world = world().await;
    let identity = world.nats.identity().await.unwrap();
    let last = world.keep_the_last_of_five().await;
    // The reader looks at the stream again after it has received the message, because messages before it are missing.
    // The call is cancelled at each place where it waits.
    for times in 0.. {
        let mut reader = world.nats.follow(identity.clone(), Sequence(1), None);
        let finished = poll_times(reader.next(), times).await;
        if let Some(batch) = finished {
            assert_eq!(batch.unwrap().entries[0].sequence, last);
            assert!(times > 5, "the call waited only {times} times");
            break;
        }
        assert_eq!(
            next_of(&mut reader).await.unwrap().entries[0].sequence,
            last,
            "cancelled after {times} polls"
        );
    }
}

#[tokio::test]
async fn a_stream_with_other_subjects_is_rejected() {
    require_nats!();
    let server = NatsServer::start().await.unwrap();
    let outside = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let subjects = vec!["ticks.>".to_owned(), "other.>".to_owned()];
    let config = jetstream::stream::Config { name: "TICKS".to_owned(), subjects, ..Default::default() };
    outside.create_stream(config).await.unwrap();
    let config = BusConfig { url: server.url(), ..BusConfig::default() };
    let nats = Nats::connect(&config, Role::Poller, &metrics()).await.unwrap();
    let lease = Arc::new(NatsLease::open(nats.clone(), Span::from_seconds(60)).await.unwrap());
    assert!(matches!(NatsWriter::open(nats, lease).await, Err(NatsError::Stream { .. })));
}

async fn lease(world: &World, span: Span) -> NatsLease {
    let config = BusConfig { url: world.server.url(), ..BusConfig::default() };
    let nats = Nats::connect(&config, Role::Poller, &metrics()).await.unwrap();
    NatsLease::open(nats, span).await.unwrap()
}

async fn held(lease: &NatsLease, before: Option<Hold>) -> Hold {
    match lease.claim(before).await.unwrap() {
        Claim::Held(hold) => hold,
        Claim::Taken(by) => panic!("taken by {by:?}"),
    }
}

#[tokio::test]
async fn one_process_holds_the_lease_until_it_releases_it() {
    require_nats!();
    let world = world().await;
    let span = Span::from_seconds(60);
    let (one, other) = (lease(&world, span).await, lease(&world, span).await);
    let first = held(&one, None).await;
    assert_eq!(other.claim(None).await.unwrap(), Claim::Taken(Some(one.id())));
    let renewed = held(&one, Some(first)).await;
    assert_eq!(renewed.term, first.term);
    assert!(renewed.revision > first.revision);
    // `first` is outdated, as after a renewal that was not confirmed. The process still gets the lease, but in a new
    // term.
    let again = held(&one, Some(first)).await;
    assert!(again.term > first.term);

    // Releasing an outdated hold changes nothing.
    one.release(renewed).await;
    assert_eq!(other.claim(None).await.unwrap(), Claim::Taken(Some(one.id())));
    one.release(again).await;
    let theirs = held(&other, None).await;
    assert!(theirs.term > again.term);
    assert_eq!(one.claim(Some(again)).await.unwrap(), Claim::Taken(Some(other.id())));
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_expires() {
    require_nats!();
    let span = Span::from_seconds(1);
    let world = world_with(span).await;
    let (one, other) = (lease(&world, span).await, lease(&world, span).await);
    let first = held(&one, None).await;
    let taken = async || match other.claim(None).await.unwrap() {
        Claim::Held(hold) => Some(hold),
        Claim::Taken(_) => None,
    };
    let theirs = testkit::wait_until("the lease expires", Duration::from_secs(60), taken).await;
    assert!(theirs.term > first.term);
    // If the bucket already exists, the lease has the bucket's duration and not the one that was requested.
    assert_eq!(lease(&world, Span::from_seconds(30)).await.span(), Duration::from_secs(1));
}

#[tokio::test]
async fn a_bucket_that_was_deleted_is_recreated() {
    require_nats!();
    let world = world().await;
    let lease = lease(&world, Span::from_seconds(60)).await;
    let before = held(&lease, None).await;
    world.outside.delete_key_value("TICKS_lease").await.unwrap();
    let after = held(&lease, Some(before)).await;
    assert_eq!(held(&lease, Some(after)).await.term, after.term);
}

#[tokio::test]
async fn only_the_holder_of_the_lease_creates_the_stream() {
    require_nats!();
    let world = world().await;
    let restore = lease(&world, Span::from_seconds(60)).await;
    let hold = held(&restore, None).await;
    world.outside.delete_stream("TICKS").await.unwrap();

    // Neither a running poller nor a starting one creates the stream.
    let appended = world.writer.append(&lead(1), Sequence(0)).await;
    assert!(matches!(appended, Err(AppendError::Unconfirmed(_))), "{appended:?}");
    let config = BusConfig { url: world.server.url(), ..BusConfig::default() };
    let nats = Nats::connect(&config, Role::Poller, &metrics()).await.unwrap();
    let starting = NatsWriter::open(nats, Arc::new(lease(&world, Span::from_seconds(60)).await));
    let mut starting = std::pin::pin!(starting);
    assert!(tokio::time::timeout(Duration::from_secs(2), &mut starting).await.is_err());
    assert!(world.outside.get_stream("TICKS").await.is_err(), "nobody created it");

    assert!(restore.release(hold).await);
    starting.await.unwrap();
    world.outside.get_stream("TICKS").await.unwrap();
    // The poller held the lease to create the stream, and has released it.
    held(&restore, None).await;
}
