//! Opening copies and only copies: as they are, in another format, and after they were moved aside.

use common::domain::Sequence;

use super::*;
use crate::store::{
    Stored,
    tests::{self, aside, identity, now, settled},
};

#[test]
fn an_existing_copy_is_opened_as_it_is_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Store::open_present_copy(folder.path()).unwrap().is_none());
    assert!(!folder.path().join("store").exists(), "no store was created");
    let store = Store::open_copy(folder.path(), &identity("abc"), now()).unwrap();
    store.commit(&[], Sequence(7), &[], Timestamp::EPOCH).unwrap();
    drop(store);
    let found = settled(|| Ok(Store::open_present_copy(folder.path())?.unwrap())).unwrap();
    assert_eq!((found.identity(), found.cursor().unwrap()), (&identity("abc"), Sequence(7)));
    assert!(matches!(Store::open_present_copy(folder.path()), Err(OpenError::InUse { .. })));

    let local = tempfile::tempdir().unwrap();
    drop(Store::open_local(local.path()).unwrap());
    let refused = settled(|| Ok(Store::open_present_copy(local.path())?.unwrap()));
    assert!(matches!(refused, Err(OpenError::OtherKind { .. })));

    let damaged = tempfile::tempdir().unwrap();
    fs::create_dir(damaged.path().join("store")).unwrap();
    fs::write(damaged.path().join("store/db"), b"no store").unwrap();
    assert!(Store::open_present_copy(damaged.path()).unwrap().is_none());
    assert_eq!(aside(damaged.path()), 0);
}

#[test]
fn a_store_is_moved_aside_once_its_last_handle_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    Store::set_aside(folder.path(), now()).unwrap();
    assert_eq!(aside(folder.path()), 0, "there is no store yet");
    let store = Store::open_copy(folder.path(), &identity("abc"), now()).unwrap();
    store.commit(&[], Sequence(7), &[], Timestamp::EPOCH).unwrap();
    let reader = store.clone();
    drop(store);
    assert!(matches!(Store::set_aside(folder.path(), now()), Err(OpenError::InUse { .. })));
    drop(reader);
    // The new store belongs to the same log as the store that was moved aside.
    let recreated = settled(|| {
        Store::set_aside(folder.path(), now())?;
        Store::open_copy(folder.path(), &identity("abc"), now())
    });
    assert_eq!((recreated.unwrap().cursor().unwrap(), aside(folder.path())), (Sequence(0), 1));
}

#[test]
fn opening_for_reading_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Store::open_records(folder.path()), Err(OpenError::NotThere { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Formats before and after the one that is written.
const OTHER_FORMATS: [&str; 4] = ["1", "3", "4", "6"];

/// Commits one record and changes the format, so that the store looks as if another version had written it.
fn written_in(format: &str, store: Store) {
    let stored = Stored { sequence: Sequence(1), record: tests::record("BTC-USD", 1, Some("1.50")) };
    store.commit(&[stored], Sequence(1), &[], Timestamp::EPOCH).unwrap();
    store.database.put(key::FORMAT, format.as_bytes()).unwrap();
}

/// The fields of an error for another format: the format found, the one written, and whether it is an only copy.
fn other_format(refused: Result<Store, OpenError>) -> (String, &'static str, bool) {
    match refused {
        Err(OpenError::OtherFormat { found, written, is_only_copy, .. }) => (found, written, is_only_copy),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_only_copy_in_another_format_is_refused_and_stays_where_it_is() {
    for format in OTHER_FORMATS {
        let folder = tempfile::tempdir().unwrap();
        written_in(format, Store::open_local(folder.path()).unwrap());
        let expected = (format.to_owned(), FORMAT, true);
        assert_eq!(other_format(settled(|| Store::open_local(folder.path()))), expected);
        assert_eq!(other_format(settled(|| Store::open_records(folder.path()))), expected);
        // The store is not mistaken for a copy that could be rebuilt either.
        let as_copy = settled(|| Store::open_copy(folder.path(), &identity("abc"), now()));
        assert!(matches!(as_copy, Err(OpenError::OtherKind { .. })), "{as_copy:?}");
        assert_eq!(aside(folder.path()), 0);
        // Nothing was changed: the version that wrote the store can still open it.
        let Ok(Found::Store(found)) = open(&folder.path().join("store")).unwrap() else { panic!("{format}") };
        assert_eq!(found.format, format);
        assert!(found.into_store(PathBuf::new()).record(Sequence(1)).unwrap().is_some());
    }
}

#[test]
fn the_error_for_another_format_says_what_was_found_and_what_to_do() {
    let error = |is_only_copy| {
        let (path, found) = ("data/store".to_owned(), "1".to_owned());
        OpenError::OtherFormat { path, found, written: FORMAT, is_only_copy }.to_string()
    };
    for (is_only_copy, remedies) in
        [(true, ["export it", "another store.path"]), (false, ["start a pod", "log"])]
    {
        let error = error(is_only_copy);
        for part in ["data/store", "format 1", "format 5"].into_iter().chain(remedies) {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }
}

#[test]
fn a_copy_in_another_format_is_moved_aside_and_rebuilt() {
    for format in OTHER_FORMATS {
        let folder = tempfile::tempdir().unwrap();
        written_in(format, Store::open_copy(folder.path(), &identity("abc"), now()).unwrap());
        let reading = settled(|| Store::open_records(folder.path()));
        assert_eq!(other_format(reading), (format.to_owned(), FORMAT, false));
        assert!(settled(|| Store::open_present_copy(folder.path())).unwrap().is_none());
        assert_eq!(aside(folder.path()), 0, "only opening it as a copy moves it");
        let rebuilt = tests::reopen(folder.path());
        assert_eq!((rebuilt.cursor().unwrap(), aside(folder.path())), (Sequence(0), 1));
    }
}
