//! A store as an older Tickwell left it.

use common::{
    bus::LogIdentity,
    domain::{Sequence, Timestamp},
};

use super::*;
use crate::store::{OpenError, Order, StoredGap, tests};

/// A store of format 1 with ticks and gaps: the same rows, less those of gaps.
fn old_store(folder: &std::path::Path, identity: Option<&LogIdentity>) -> (Vec<StoredGap>, Vec<Stored>) {
    let store = match identity {
        None => Store::open_local(folder).unwrap(),
        Some(identity) => Store::open_copy(folder, identity, tests::now()).unwrap(),
    };
    let stored = |number: u64| Stored {
        sequence: Sequence(number),
        record: tests::record(
            if number.is_multiple_of(2) { "BTC-USD" } else { "ETH-USD" },
            i64::try_from(number).unwrap(),
            (!number.is_multiple_of(3)).then_some("1.50"),
        ),
    };
    let records: Vec<Stored> = (1..=40).map(stored).collect();
    store.commit(&records, Sequence(41)).unwrap();
    let gaps = all_gaps(&store);
    for row in store.database.scan_prefix(key::GAP_PREFIX) {
        store.database.remove(row.unwrap().0).unwrap();
    }
    store.database.insert(key::FORMAT, b"1").unwrap();
    assert_eq!((gaps.len(), all_gaps(&store).len()), (13, 0));
    (gaps, records)
}

fn all_gaps(store: &Store) -> Vec<StoredGap> {
    let of = |pair: &str| {
        store
            .gaps(pair.parse().unwrap(), Timestamp::EPOCH, Timestamp::MAX, Order::Ascending)
            .map(Result::unwrap)
    };
    of("BTC-USD").chain(of("ETH-USD")).collect()
}

fn open_local(folder: &std::path::Path) -> Result<Store, OpenError> {
    tests::settled(|| Store::open_local(folder))
}

#[test]
fn an_only_copy_is_brought_up_to_date_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (gaps, records) = old_store(folder.path(), None);
    let everything = |store: &Store| -> Vec<_> {
        let rows = store.database.iter().map(Result::unwrap);
        rows.filter(|(name, _)| !name.starts_with(key::GAP_PREFIX) && name != key::FORMAT).collect()
    };
    // Records alone can be read as they are, and that changes nothing.
    let store = tests::settled(|| Store::open_records(folder.path())).unwrap();
    let before = everything(&store);
    assert_eq!(store.records().count(), records.len());
    assert_eq!(&*store.database.get(key::FORMAT).unwrap().unwrap(), b"1");
    // As if a row had been left over by a try that did not end, and its record had been removed since.
    store.database.insert(key::gap("BTC-USD".parse().unwrap(), tests::slot(1).start()), b"old").unwrap();
    drop(store);

    let store = open_local(folder.path()).unwrap();
    assert_eq!(all_gaps(&store), gaps);
    assert_eq!(everything(&store), before);
    assert_eq!(store.cursor().unwrap(), Sequence(41));
    assert_eq!(store.database.get(key::FORMAT).unwrap().unwrap(), open::FORMAT);
    drop(store);
    let store = open_local(folder.path()).unwrap();
    assert_eq!((all_gaps(&store), tests::aside(folder.path())), (gaps, 0));
}

#[test]
fn what_cannot_be_brought_up_to_date_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    old_store(folder.path(), None);
    let store = tests::settled(|| Store::open_records(folder.path())).unwrap();
    store.database.insert(key::record(Sequence(39)), b"damaged").unwrap();
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

    for format in ["1", "3"] {
        let folder = tempfile::tempdir().unwrap();
        old_store(folder.path(), None);
        let store = tests::settled(|| Store::open_records(folder.path())).unwrap();
        store.database.insert(key::FORMAT, format).unwrap();
        drop(store);
        let refused =
            tests::settled(|| Store::open_copy(folder.path(), &tests::identity("abc"), tests::now()));
        assert!(matches!(refused, Err(OpenError::OtherKind { .. })), "{format}");
        let local = open_local(folder.path());
        assert_eq!(matches!(local, Err(OpenError::OnlyCopy { .. })), format == "3");
        assert_eq!(tests::aside(folder.path()), 0);
    }
}

#[test]
fn nothing_is_begun_where_records_are_to_be_read() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open_records(folder.path()), Err(OpenError::NotThere { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
