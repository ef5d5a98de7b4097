//! Rewrites stores that are in use, fail on purpose, and are killed.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::*;
use crate::store::{
    Order, PairState, Stored,
    tests::{identity, now, record, settled, slot},
};
use common::domain::{Pair, Sequence, Timestamp};

const PAIR: &str = "BTC-USD";

/// The directory of the store that [`rewrite_until_killed`] uses.
const FOLDER: &str = "TICKWELL_TEST_REWRITE";

/// How often the test kills a process. Set it to a higher number for a longer test.
const KILLS: &str = "TICKWELL_REWRITE_KILLS";

const SECOND: Duration = Duration::from_secs(1);

fn open(folder: &Path) -> Store {
    settled(|| Store::open_copy(folder, &identity("abc"), now())).unwrap()
}

/// Commits the ticks with these sequences. The tick at a sequence is for the slot with the same number.
fn commit(store: &Store, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        let index = i64::try_from(sequence).unwrap();
        let stored = Stored {
            sequence: Sequence(sequence),
            record: record(PAIR, index, Some(&format!("{sequence}.5"))),
        };
        store.commit(&[stored], Sequence(sequence), &[], Timestamp::EPOCH).unwrap();
    }
}

fn rows(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = store.database.scan_prefix(b"").map(Result::unwrap);
    rows.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

fn rewrite(store: &Store, limit: Duration) -> Result<bool, RewriteError> {
    let _no_commits = store.writer.lock().unwrap();
    store.rewrite(store.database.size().unwrap(), Instant::now(), limit)
}

fn state(store: &Store) -> PairState {
    store.pair_state(PAIR.parse::<Pair>().unwrap()).unwrap().unwrap()
}

#[test]
fn a_store_that_was_rewritten_has_the_same_rows_and_takes_further_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, 1..=400);
    let (before, size) = (rows(&store), store.database.size().unwrap());
    assert!(rewrite(&store, 60 * SECOND).unwrap());
    assert_eq!(rows(&store), before);
    assert!(store.database.size().unwrap() < size);
    commit(&store, 401..=700);
    assert!(rewrite(&store, 60 * SECOND).unwrap(), "a store can be rewritten again");
    commit(&store, 701..=702);
    let newest = rows(&store);
    drop(store);
    let store = open(folder.path());
    store.check().unwrap();
    assert_eq!((rows(&store), state(&store).newest), (newest, Sequence(702)));
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["store"]);
    // The same records, committed without a rewrite, give the same rows.
    let other = tempfile::tempdir().unwrap();
    let plain = open(other.path());
    commit(&plain, 1..=702);
    assert_eq!(rows(&store), rows(&plain));
}

#[test]
fn a_rewrite_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, 1..=100);
    let before = rows(&store);
    assert!(matches!(rewrite(&store, Duration::ZERO), Err(RewriteError::TooSlow { .. })));
    // A reader that has started holds up a rewrite, and then reads on.
    let pair = PAIR.parse().unwrap();
    let mut ticks = store.ticks(pair, slot(0).start(), Timestamp::MAX, Order::Ascending);
    ticks.next().unwrap().unwrap();
    assert!(matches!(rewrite(&store, 60 * SECOND), Err(RewriteError::Readers)));
    assert_eq!(ticks.map(|tick| tick.unwrap().sequence).last(), Some(Sequence(100)));
    assert_eq!(rows(&store), before);
    assert!(!files::rewriting(&store.path).exists());
    // The same reader does not hold up anything once it has ended.
    assert!(rewrite(&store, 60 * SECOND).unwrap());
    assert_eq!(rows(&store), before);
}

#[test]
fn a_store_is_rewritten_only_if_it_is_large_and_has_grown() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, 1..=10);
    assert_eq!(store.rewrite_if_worthwhile(60 * SECOND).unwrap(), None, "a small store");
    let due = |file_bytes, last| is_due(last, file_bytes);
    let attempt = |file_bytes, failed| Some(Attempt { file_bytes, failed });
    assert!(due(MIN_FILE_BYTES, None) && !due(MIN_FILE_BYTES - 1, None));
    assert!(!due(116 << 20, attempt(100 << 20, None)) && due(117 << 20, attempt(100 << 20, None)));
    let now = Instant::now();
    assert!(!due(900 << 20, attempt(100 << 20, Some(now))));
    let earlier = now.checked_sub(RETRY_PAUSE);
    assert!(earlier.is_none_or(|earlier| due(100 << 20, attempt(100 << 20, Some(earlier)))));
}

#[test]
fn what_an_interrupted_rewrite_has_left_behind_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    commit(&store, 1..=10);
    let left = files::rewriting(&store.path);
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("db"), "half").unwrap();
    drop(store);
    assert_eq!(state(&open(folder.path())).newest, Sequence(10));
    assert!(!left.exists());
}

#[test]
fn a_process_that_is_killed_while_it_rewrites_loses_nothing() {
    let kills: u64 = std::env::var(KILLS).map_or(12, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    commit(&open(folder.path()), 1..=300);
    let mut acknowledged = 300;
    let mut left = 0;
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::rewrite::tests::rewrite_until_killed", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Each line follows a commit. Kill the process at different moments after one.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _line in 0..=kill % 3 {
            let line = lines.find(|line| line.as_ref().unwrap().starts_with("committed")).unwrap().unwrap();
            acknowledged = line.split_whitespace().last().unwrap().parse().unwrap();
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(kill * 7_919 % 60_000) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        left += u64::from(files::rewriting(&folder.path().join("store")).exists());
        let store = open(folder.path());
        store.check().unwrap();
        let newest = state(&store).newest.0;
        assert!(newest >= acknowledged, "{newest} of {acknowledged}");
        let other = tempfile::tempdir().unwrap();
        let plain = open(other.path());
        commit(&plain, 1..=newest);
        assert!(rows(&store) == rows(&plain), "the rows differ after kill {kill}");
    }
    assert!(left > 0, "no process was killed during a rewrite");
}

/// Commits and rewrites until the process is killed.
#[test]
#[ignore = "another test starts this as a process, and kills it"]
fn rewrite_until_killed() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let store = open(Path::new(&folder));
    loop {
        let next = state(&store).newest.0 + 1;
        commit(&store, next..=next);
        println!("committed {next}");
        assert!(rewrite(&store, 60 * SECOND).unwrap());
    }
}
