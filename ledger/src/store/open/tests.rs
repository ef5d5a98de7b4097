//! A copy that is there, and one that is moved aside although it opens.

use common::domain::Sequence;

use super::*;
use crate::store::tests::{identity, now, settled};

/// How many stores were moved aside.
fn aside(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("damaged-")).count()
}

#[test]
fn a_copy_is_found_as_it_is_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Store::open_present_copy(folder.path()).unwrap().is_none());
    assert!(!folder.path().join("store").exists(), "nothing is begun for want of one");
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
fn a_store_is_moved_aside_once_nobody_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    Store::set_aside(folder.path(), now()).unwrap();
    assert_eq!(aside(folder.path()), 0, "there is none");
    let store = Store::open_copy(folder.path(), &identity("abc"), now()).unwrap();
    store.commit(&[], Sequence(7), &[], Timestamp::EPOCH).unwrap();
    let reader = store.clone();
    drop(store);
    assert!(matches!(Store::set_aside(folder.path(), now()), Err(OpenError::InUse { .. })));
    drop(reader);
    // Under the identity that it had: only its content was wrong.
    let anew = settled(|| {
        Store::set_aside(folder.path(), now())?;
        Store::open_copy(folder.path(), &identity("abc"), now())
    });
    assert_eq!((anew.unwrap().cursor().unwrap(), aside(folder.path())), (Sequence(0), 1));
}
