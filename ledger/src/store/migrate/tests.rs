//! A store as an older Tickwell left it.

use common::{
    bus::LogIdentity,
    domain::{Sequence, Timestamp},
};

use super::*;
use crate::store::{OpenError, tests};

/// The rows of a store, its format's apart.
type Rows = Vec<(sled::IVec, sled::IVec)>;

fn rows(store: &Store) -> Rows {
    store.database.scan_prefix(b"").map(Result::unwrap).filter(|(name, _)| name != key::FORMAT).collect()
}

/// A store of format 1: its whole records and what is said about it, a row a tick, and what a try that did
/// not end has left. Answers the rows that belong there, and the records.
fn old_store(folder: &std::path::Path, identity: Option<&LogIdentity>) -> (Rows, Vec<Stored>) {
    let store = match identity {
        None => Store::open_local(folder).unwrap(),
        Some(identity) => Store::open_copy(folder, identity, tests::now()).unwrap(),
    };
    let stored = |number: u64| Stored {
        sequence: Sequence(number),
        record: tests::record(
            if number.is_multiple_of(2) { "BTC-USD" } else { "ETH-USD" },
            i64::try_from(number / 2).unwrap(),
            (!number.is_multiple_of(3)).then_some("1.50"),
        ),
    };
    let records: Vec<Stored> = (1..=1_500).map(stored).collect();
    store.commit(&records, Sequence(1_501), &[], Timestamp::EPOCH).unwrap();
    let wanted = rows(&store);
    clear(&store, key::PACK_PREFIX).unwrap();
    for Stored { sequence, record } in &records {
        store.database.put(&key::record(*sequence), &common::wire::encode(record)).unwrap();
    }
    for prefix in key::DERIVED_PREFIXES {
        clear(&store, prefix).unwrap();
        store.database.put(&[prefix, b"BTC-USD\0\0\0\0\0\0\0\0\x01"].concat(), b"old").unwrap();
    }
    store.database.put(key::FORMAT, b"1").unwrap();
    (wanted, records)
}

fn open_local(folder: &std::path::Path) -> Result<Store, OpenError> {
    tests::settled(|| Store::open_local(folder))
}

#[test]
fn an_only_copy_is_brought_up_to_date_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (wanted, records) = old_store(folder.path(), None);
    // Records alone can be read as they are, and that changes nothing.
    let store = tests::settled(|| Store::open_records(folder.path())).unwrap();
    let before = rows(&store);
    assert_eq!(store.records().count(), records.len());
    assert_eq!((rows(&store), &*store.database.get(key::FORMAT).unwrap().unwrap()), (before, &b"1"[..]));
    drop(store);

    let store = open_local(folder.path()).unwrap();
    assert_eq!(rows(&store), wanted);
    assert_eq!(store.database.get(key::FORMAT).unwrap().unwrap(), open::FORMAT);
    drop(store);
    let store = open_local(folder.path()).unwrap();
    assert_eq!((rows(&store), tests::aside(folder.path())), (wanted, 0));
}

#[test]
fn what_cannot_be_brought_up_to_date_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    old_store(folder.path(), None);
    let store = tests::settled(|| Store::open_records(folder.path())).unwrap();
    store.database.put(&key::record(Sequence(39)), b"damaged").unwrap();
    drop(store);
    let refused = open_local(folder.path());
    let reason = refused.map(|_| ()).unwrap_err();
    assert!(matches!(
        reason,
        OpenError::OnlyCopy { source: StoreError::Record { sequence: Sequence(39), .. }, .. }
    ));
    let store = tests::settled(|| Store::open_records(folder.path())).unwrap();
    assert_eq!(&*store.database.get(key::FORMAT).unwrap().unwrap(), b"1");
    assert!(store.record(Sequence(1)).unwrap().is_some());
    assert_eq!(tests::aside(folder.path()), 0);
}

#[test]
fn a_copy_is_built_anew_and_an_only_copy_is_never_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    old_store(folder.path(), Some(&tests::identity("abc")));
    assert!(matches!(open_local(folder.path()), Err(OpenError::OtherKind { .. })));
    let anew = tests::reopen(folder.path());
    assert_eq!((anew.cursor().unwrap(), tests::aside(folder.path())), (Sequence(0), 1));

    for format in ["1", "4"] {
        let folder = tempfile::tempdir().unwrap();
        old_store(folder.path(), None);
        let store = tests::settled(|| Store::open_records(folder.path())).unwrap();
        store.database.put(key::FORMAT, format.as_bytes()).unwrap();
        drop(store);
        let refused =
            tests::settled(|| Store::open_copy(folder.path(), &tests::identity("abc"), tests::now()));
        assert!(matches!(refused, Err(OpenError::OtherKind { .. })), "{format}");
        let local = open_local(folder.path());
        assert_eq!(matches!(local, Err(OpenError::OnlyCopy { .. })), format == "4");
        assert_eq!(tests::aside(folder.path()), 0);
    }
}

#[test]
fn nothing_is_begun_where_records_are_to_be_read() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open_records(folder.path()), Err(OpenError::NotThere { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
