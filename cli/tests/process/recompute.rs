//! `tickwell recompute` from every kind of log, and with a record that was changed.

use async_nats::jetstream::{self, message::PublishMessage};
use testkit::{Venue, nats::NatsServer, require_nats, wait_until};

use crate::{
    audit::{Findings, audit},
    harness::{DEADLINE, INTERVAL, Pod, Scene, has_price, moving_upstream, slots_pass, world},
    records::{self, Kind, Record, time_text},
    survival::end,
};

const SUBJECT: &str = "ticks.BTC.USD";

/// Runs the command with the store of that name. Returns its exit code and its output, errors included.
async fn recompute(scene: &Scene, store: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = scene.command(store).arg("recompute").args(arguments).start().unwrap();
    let status = process.wait_exit(DEADLINE).await.unwrap();
    (status.code(), process.lines().join("\n"))
}

/// The number that a summary shows for `what`.
fn count(summary: &str, what: &str) -> usize {
    let line = summary.lines().find_map(|line| line.trim_start().split_once(&format!("  {what}")));
    line.unwrap_or_else(|| panic!("no {what} in:\n{summary}")).0.parse().unwrap()
}

/// Compares a summary of a whole log with its records.
fn check_summary(summary: &str, records: &[Record], differing: usize) {
    let with_quotes =
        |kind: Kind| records.iter().filter(|record| record.kind == kind && record.quotes.is_some()).count();
    assert_eq!(count(summary, "ticks"), with_quotes(Kind::Tick), "{summary}");
    assert_eq!(count(summary, "gaps with quotes"), with_quotes(Kind::Gap), "{summary}");
    let without = records.iter().filter(|record| record.quotes.is_none()).count();
    assert_eq!(count(summary, "without quotes"), without, "{summary}");
    assert_eq!((count(summary, "expired"), count(summary, "differing")), (0, differing), "{summary}");
}

fn count_gaps_with_quotes(records: &[Record]) -> usize {
    records.iter().filter(|record| record.kind == Kind::Gap && record.quotes.is_some()).count()
}

/// The line that the command prints about an unchanged record.
fn agreeing_line(record: &Record) -> String {
    let Record { sequence, pair, epoch, .. } = record;
    let slot = record.slot.map_or_else(String::new, |slot| time_text(slot.0));
    match (record.kind, &record.quotes) {
        (Kind::Tick, _) => format!(
            "{sequence} tick {pair} {slot}: {} from {} of {} quotes: agrees",
            record.price.as_ref().unwrap(),
            record.used().len(),
            record.quotes().len(),
        ),
        (Kind::Gap, Some(quotes)) => {
            let cause = record.cause.as_ref().unwrap();
            format!("{sequence} gap {pair} {slot}: {cause}, {} sources asked: agrees", quotes.len())
        }
        (Kind::Gap, None) => "no source asked: no quotes, nothing to recompute".to_owned(),
        (Kind::Lead, _) => {
            format!("{sequence} lead {pair}: epoch {epoch}: no quotes, nothing to recompute")
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_record_is_reported_and_all_others_agree() {
    require_nats!();
    let (nats, upstream, scene) = world().await;
    let mut poller = scene.poller().await;
    let pod = scene.pod("pod").await;
    has_price(&pod).await;
    pod.takes_in(4).await;
    // Take down two of three sources, so that there are also gaps with quotes.
    for venue in [Venue::Kraken, Venue::Coinbase] {
        upstream.set_down(venue, true);
    }
    wait_until("a gap with quotes", DEADLINE, async || {
        let records = records::all(&pod).await;
        records.iter().any(|record| record.kind == Kind::Gap && record.quotes.is_some()).then_some(())
    })
    .await;
    end(&mut poller).await;
    let records = settled(&nats, &pod).await;
    let Findings { ticks, leads, .. } = audit(&records);
    assert!(ticks >= 2 && leads == 1);

    let (code, summary) = recompute(&scene, "unused", &["--all"]).await;
    assert_eq!(code, Some(0), "{summary}");
    check_summary(&summary, &records, 0);
    assert!(!scene.store("unused").exists(), "the log is on NATS, so no store is created");
    let numbers: Vec<String> = records.iter().map(|record| record.sequence.to_string()).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let through_pod = [numbers.as_slice(), &["--url", &pod.url]].concat();
    for arguments in [numbers, through_pod] {
        let (code, said) = recompute(&scene, "unused", &arguments).await;
        assert_eq!(code, Some(0), "{said}");
        for record in &records {
            assert!(said.contains(&agreeing_line(record)), "{} in:\n{said}", agreeing_line(record));
        }
    }

    let tick = records.iter().find(|record| record.is_tick()).unwrap();
    let price = tick.price.as_deref().unwrap();
    let last = records.last().unwrap().slot.unwrap().0;
    let changed = put(&nats, tick, last + 500_000, &other(price)).await;
    pod.reaches(changed).await;
    let expected = format!("price recorded {}, recomputed {price}", other(price));
    let one = changed.to_string();
    for way in [vec!["--all"], vec!["--all", "--url", &pod.url], vec![&one], vec![&one, "--url", &pod.url]] {
        let (code, said) = recompute(&scene, "unused", &way).await;
        assert_eq!(code, Some(1), "{way:?}: {said}");
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("differs:")).collect();
        assert!(
            matches!(lines[..], [line] if line.starts_with(&format!("{one} tick")) && line.ends_with(&expected)),
            "{way:?}: {said}"
        );
        if way[0] == "--all" {
            assert_eq!((count(&said, "differing"), count(&said, "ticks")), (1, ticks + 1), "{said}");
        }
    }

    let missing = (changed + 1).to_string();
    let far = (changed + 1_000).to_string();
    for way in [vec![missing.as_str()], vec![&far], vec![&far, "--url", &pod.url]] {
        let (code, said) = recompute(&scene, "unused", &way).await;
        assert!(code == Some(1) && said.contains(way[0]) && said.contains("no "), "{way:?}: {said}");
    }

    // After a record that is nine days newer, the pod no longer has the old quotes. The log still has them.
    let later = put(&nats, tick, last + 9 * 86_400_000, price).await;
    pod.reaches(later).await;
    let (code, said) = recompute(&scene, "unused", &[&one, "--url", &pod.url]).await;
    assert!(code == Some(0) && said.contains("store.retain_quotes"), "{said}");
    let (code, summary) = recompute(&scene, "unused", &["--all", "--url", &pod.url]).await;
    let expired = ticks + 1 + count_gaps_with_quotes(&records);
    assert_eq!(
        (code, count(&summary, "expired"), count(&summary, "ticks")),
        (Some(0), expired, 1),
        "{summary}"
    );
    assert_eq!(recompute(&scene, "unused", &[&one]).await.0, Some(1));
}

/// Waits until the pod has the log's last record, and returns all records. The poller must have exited.
async fn settled(nats: &NatsServer, pod: &Pod) -> Vec<Record> {
    let log = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = log.get_stream("TICKS").await.unwrap();
    pod.reaches(stream.cached_info().state.last_sequence).await;
    records::all(pod).await
}

/// Appends a tick like a poller, with the quotes of `tick` and this price. The price need not be the one
/// that follows from the quotes. Returns the sequence of the new tick.
async fn put(nats: &NatsServer, tick: &Record, slot: i64, price: &str) -> u64 {
    let log = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = log.get_stream("TICKS").await.unwrap();
    let payload = stream.get_raw_message(tick.sequence).await.unwrap().payload;
    let text = String::from_utf8(payload.to_vec()).unwrap();
    // Replace only the first occurrence, because the record's own price and slot come before those of its quotes.
    let field = |name: &str, value: &str| format!("\"{name}\":\"{value}\"");
    let (old_slot, slot) = (time_text(tick.slot.unwrap().0), time_text(slot));
    let changed = text
        .replacen(&field("price", tick.price.as_deref().unwrap()), &field("price", price), 1)
        .replacen(&field("slot", &old_slot), &field("slot", &slot), 1);
    assert_ne!(changed, text);
    let newest = stream.get_last_raw_message_by_subject(SUBJECT).await.unwrap().sequence;
    let message = PublishMessage::build()
        .message_id(format!("BTC-USD:{slot}"))
        .expected_last_subject_sequence(newest)
        .payload(changed.into());
    log.send_publish(SUBJECT, message).await.unwrap().await.unwrap().sequence
}

/// The price with its last digit changed.
fn other(price: &str) -> String {
    let (rest, last) = price.split_at(price.len() - 1);
    format!("{rest}{}", (last.parse::<u8>().unwrap() + 1) % 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_only_copy_is_read_through_its_process_or_after_it_has_stopped() {
    let upstream = moving_upstream(INTERVAL).await;
    let scene = Scene::new(INTERVAL).asking(&upstream);
    let (code, said) = recompute(&scene, "only", &["--all"]).await;
    assert!(code == Some(1) && said.contains("there is no store") && said.contains("--demo"), "{said}");
    let (code, said) = recompute(&scene, "only", &["--all", "--demo"]).await;
    assert!(code == Some(1) && said.contains("there is no store") && !said.contains("--demo"), "{said}");
    assert!(!scene.store("only").exists(), "a failed command creates no store");

    let mut process = scene.standalone("only").await;
    process.takes_in(6).await;
    process.process.kill();
    slots_pass(3, INTERVAL).await;
    process = scene.standalone("only").await;
    process.takes_in(6).await;
    let (code, said) = recompute(&scene, "only", &["--all"]).await;
    let (wrong, advice) = (said.find("is in use by another process"), said.find("--url http://"));
    assert!(code == Some(1) && wrong.is_some() && wrong < advice, "{said}");
    let (code, said) = recompute(&scene, "only", &["--all", "--url", &process.url]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(count(&said, "ticks") > 0 && count(&said, "without quotes") >= 3, "{said}");
    let before = records::all(&process).await;
    end(&mut process.process).await;

    let (code, said) = recompute(&scene, "only", &["--all"]).await;
    assert_eq!(code, Some(0), "{said}");
    let end = count(&said, "ticks") + count(&said, "gaps with quotes") + count(&said, "without quotes");
    assert!(end >= before.len(), "{end} records of {}", before.len());
    for record in &before {
        let (code, said) = recompute(&scene, "only", &[&record.sequence.to_string()]).await;
        assert!(code == Some(0) && said.contains(&agreeing_line(record)), "{said}");
    }
    let (code, said) = recompute(&scene, "only", &[&(end + 1).to_string()]).await;
    assert!(code == Some(1) && said.contains(&format!("the newest is {end}")), "{said}");
}

#[tokio::test]
async fn an_unreachable_server_is_reported_soon() {
    let scene = Scene::new(INTERVAL).with("TICKWELL__BUS__URL", "nats://127.0.0.1:1");
    let (code, said) = recompute(&scene, "unused", &["--all"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("bus.url: ") && said.contains("nats://127.0.0.1:1"), "{said}");
    assert!(!said.contains("TICKS"), "{said}");
}
