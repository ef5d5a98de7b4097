//! The log on JetStream, against a real nats-server: the fence, what is newest, and following.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use std::{sync::Arc, time::Duration};

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
use testkit::{nats::NatsServer, require_nats};

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
        body: Body::Lead(Lead { covered: None, leader: None }),
    }
}

struct World {
    server: NatsServer,
    nats: Nats,
    lease: Arc<NatsLease>,
    writer: NatsWriter,
    /// The stream as anybody who may publish sees it.
    outside: jetstream::Context,
}

async fn world() -> World {
    world_with(Span::from_seconds(60)).await
}

/// A world in which the lease lasts so long.
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
    /// Appends a lead, however often that has to be tried.
    async fn append(&self, epoch: u64, after: Sequence) -> Sequence {
        let append = async || self.writer.append(&lead(epoch), after).await.ok();
        testkit::wait_until("the record is stored", Duration::from_secs(60), append).await
    }

    async fn put(&self, subject: &'static str) -> u64 {
        self.outside.publish(subject, "junk".into()).await.unwrap().await.unwrap().sequence
    }
}

#[tokio::test]
async fn the_fence_refuses_what_is_not_expected() {
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
async fn a_repetition_that_the_server_drops_is_not_taken_for_stored() {
    require_nats!();
    let world = world().await;
    world.writer.append(&lead(1), Sequence(0)).await.unwrap();
    let junk = world.put("ticks.BTC.USD").await;
    // The fence is right and the id is known: the server says "duplicate", and stores nothing.
    let repeated = world.writer.append(&lead(1), Sequence(junk)).await;
    assert!(matches!(repeated, Err(AppendError::WrongLastSequence)), "{repeated:?}");
}

#[tokio::test]
async fn a_record_under_much_junk_is_found_or_the_search_fails_aloud() {
    require_nats!();
    let world = world().await;
    for _message in 0..20 {
        world.put("ticks.BTC.USD").await;
    }
    assert_eq!(
        world.writer.newest(pair()).await.unwrap().record,
        None,
        "looked through to the first message"
    );
    let junk = world.put("ticks.BTC.USD").await;
    let stored = world.writer.append(&lead(1), Sequence(junk)).await.unwrap();
    for _message in 0..20 {
        world.put("ticks.BTC.USD").await;
    }
    let newest = world.writer.newest(pair()).await.unwrap();
    assert_eq!(newest.record, Some(lead(1)));
    assert_eq!(newest.sequence, Sequence(stored.0 + 20));

    for _batch in 0..101 {
        let mut sent = Vec::new();
        for _message in 0..100 {
            sent.push(world.outside.publish("ticks.BTC.USD", "junk".into()).await.unwrap());
        }
        for acknowledgement in sent {
            acknowledgement.await.unwrap();
        }
    }
    let buried = world.writer.newest(pair()).await;
    assert!(matches!(buried, Err(ReadError::Buried { .. })), "{buried:?}");
}

#[tokio::test]
async fn a_reader_goes_on_after_its_cursor_and_says_when_it_has_caught_up() {
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
        assert_eq!(records, seen.len() - 1, "the junk is there, and is no record");
        let expected: Vec<Sequence> = (begin + 1..=31).map(Sequence).collect();
        assert_eq!(seen.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), expected);
    }
    let beyond = world.nats.follow(identity, Sequence(99), None).next().await;
    assert!(matches!(beyond, Err(ReadError::Replaced(_))), "{beyond:?}");
}

/// What a reader says next that is not merely an end or the trouble of a moment.
async fn next_of(reader: &mut NatsReader) -> Result<Batch, ReadError> {
    testkit::wait_until("the reader says something", Duration::from_secs(60), async || {
        match reader.next().await {
            Ok(batch) if batch.entries.is_empty() => None,
            Err(error) if error.trouble().is_some() => None,
            said => Some(said),
        }
    })
    .await
}

#[tokio::test]
async fn a_reader_never_goes_on_in_a_stream_that_took_the_place_of_its_own() {
    require_nats!();
    let world = world().await;
    let identity = world.nats.identity().await.unwrap();
    world.writer.append(&lead(1), Sequence(0)).await.unwrap();
    let mut reader = world.nats.follow(identity.clone(), Sequence(0), None);
    assert_eq!(next_of(&mut reader).await.unwrap().entries.len(), 1);
    held(&world.lease, None).await;
    world.outside.delete_stream("TICKS").await.unwrap();
    // Longer than the old one at once: by position alone, its second record would be the next.
    let mut last = Sequence(0);
    for epoch in 2..=9 {
        last = world.append(epoch, last).await;
    }
    // One that has seen nothing has only the identity to go by.
    let newcomer = world.nats.follow(identity, Sequence(0), None);
    for mut reader in [reader, newcomer] {
        let said = next_of(&mut reader).await;
        assert!(matches!(said, Err(ReadError::Replaced(_))), "{said:?}");
    }
}

#[tokio::test]
async fn a_reader_knows_its_log_by_the_newest_message_it_has_seen() {
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
    };
    let mut reader = world.nats.follow(identity.clone(), Sequence(3), Some(seen(3)));
    let entries = next_of(&mut reader).await.unwrap().entries;
    assert_eq!(entries.first().map(|entry| entry.sequence), Some(Sequence(4)));
    let mut reader = world.nats.follow(identity.clone(), Sequence(3), Some(seen(7)));
    let said = next_of(&mut reader).await;
    assert!(matches!(said, Err(ReadError::Replaced(_))), "{said:?}");
    // At the end of the log too, before the reader says that it has caught up.
    let at_end = Entry { sequence: Sequence(5), ..seen(7) };
    let said = world.nats.follow(identity, Sequence(5), Some(at_end)).next().await;
    assert!(matches!(said, Err(ReadError::Replaced(_))), "{said:?}");
}

#[tokio::test]
async fn a_newest_message_that_has_expired_proves_nothing_and_stops_nobody() {
    require_nats!();
    let world = world().await;
    let identity = world.nats.identity().await.unwrap();
    let mut last = Sequence(0);
    for epoch in 1..=5 {
        last = world.writer.append(&lead(epoch), last).await.unwrap();
    }
    let mut config = world.outside.get_stream("TICKS").await.unwrap().cached_info().config.clone();
    config.max_messages = 1;
    world.outside.update_stream(config).await.unwrap();
    let gone = Entry { sequence: Sequence(3), id: None, payload: Bytes::new() };
    let entries = next_of(&mut world.nats.follow(identity.clone(), Sequence(3), Some(gone.clone()))).await;
    assert_eq!(entries.unwrap().entries[0].sequence, Sequence(5));
    // Nothing comes at all: what lies behind the newest one was no record and has expired as well.
    let caught_up = world.nats.follow(identity, Sequence(5), Some(gone)).next().await.unwrap();
    assert!(caught_up.entries.is_empty());
}

#[tokio::test]
async fn a_stream_that_holds_more_than_the_feed_is_refused() {
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
async fn one_holds_the_lease_until_it_gives_it_back() {
    require_nats!();
    let world = world().await;
    let span = Span::from_seconds(60);
    let (one, other) = (lease(&world, span).await, lease(&world, span).await);
    let first = held(&one, None).await;
    assert_eq!(other.claim(None).await.unwrap(), Claim::Taken(Some(one.id())));
    let renewed = held(&one, Some(first)).await;
    assert_eq!(renewed.term, first.term);
    assert!(renewed.revision > first.revision);
    // A renewal of which there was no news: the lease is still ours, and it is a new term.
    let again = held(&one, Some(first)).await;
    assert!(again.term > first.term);

    // Giving back what is no longer ours changes nothing.
    one.release(renewed).await;
    assert_eq!(other.claim(None).await.unwrap(), Claim::Taken(Some(one.id())));
    one.release(again).await;
    let theirs = held(&other, None).await;
    assert!(theirs.term > again.term);
    assert_eq!(one.claim(Some(again)).await.unwrap(), Claim::Taken(Some(other.id())));
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_is_free_again() {
    require_nats!();
    let span = Span::from_seconds(1);
    let world = world_with(span).await;
    let (one, other) = (lease(&world, span).await, lease(&world, span).await);
    let first = held(&one, None).await;
    let taken = async || match other.claim(None).await.unwrap() {
        Claim::Held(hold) => Some(hold),
        Claim::Taken(_) => None,
    };
    let theirs = testkit::wait_until("the lease runs out", Duration::from_secs(60), taken).await;
    assert!(theirs.term > first.term);
    // A bucket that exists keeps its span.
    assert_eq!(lease(&world, Span::from_seconds(30)).await.span(), Duration::from_secs(1));
}

#[tokio::test]
async fn a_bucket_that_was_deleted_is_made_anew() {
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

    // Neither a poller that runs already, nor one that starts.
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
    // It was created under the lease, which is free again.
    held(&restore, None).await;
}
