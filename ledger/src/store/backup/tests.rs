//! Backups of a store while records arrive, and files that are not valid backups.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use common::{bus::LogIdentity, domain::Sequence};

use super::*;
use crate::store::{OpenError, Stored, tests};

fn rows(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    store
        .database
        .scan_prefix(b"")
        .map(|row| row.map(|(name, value)| (name.to_vec(), value.to_vec())).unwrap())
        .collect()
}

fn tick(number: u64) -> Stored {
    let record = tests::record("BTC-USD", i64::try_from(number).unwrap(), Some("97012.30"));
    Stored { sequence: Sequence(number), record }
}

fn fill(store: &Store, numbers: std::ops::RangeInclusive<u64>) {
    let records: Vec<Stored> = numbers.map(tick).collect();
    let newest = records.last().unwrap().sequence;
    store.commit(&records, newest, &[], Timestamp::EPOCH).unwrap();
}

fn bytes(store: &Store) -> (Vec<u8>, Summary) {
    let Backup { mut file, summary, .. } = store.backup(tests::now()).unwrap();
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    assert_eq!(u64::try_from(bytes.len()).unwrap(), summary.bytes);
    (bytes, summary)
}

fn open_copy(folder: &Path, identity: &LogIdentity) -> Store {
    tests::settled(|| Store::open_copy(folder, identity, tests::now())).unwrap()
}

#[test]
fn a_backup_is_consistent_while_records_arrive() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let identity = tests::identity("abc");
    let store = open_copy(folder.path(), &identity);
    fill(&store, 1..=2_000);
    let done = AtomicBool::new(false);
    let (bytes, summary) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 2_001;
            while !done.load(Ordering::Relaxed) {
                fill(&store, next..=next + 2);
                next += 3;
            }
        });
        while store.cursor().unwrap() < Sequence(2_100) {
            std::thread::yield_now();
        }
        let copied = bytes(&store);
        done.store(true, Ordering::Relaxed);
        copied
    });
    // Each batch has three records, so the sequence shows whether the backup ends inside a batch.
    let sequence = summary.header.sequence;
    assert!(sequence > 2_000 && (sequence - 2_000) % 3 == 0, "{sequence}");
    assert_eq!(restore(other.path(), bytes.as_slice()).unwrap(), summary);
    let restored = open_copy(other.path(), &identity);

    // Commit the records that the backup contains to another store, without a backup in between.
    let plain = tempfile::tempdir().unwrap();
    let plain = open_copy(plain.path(), &identity);
    fill(&plain, 1..=2_000);
    (2_001..=sequence).step_by(3).for_each(|next| fill(&plain, next..=next + 2));
    assert!(rows(&restored) == rows(&plain), "the rows differ");
    fill(&restored, sequence + 1..=sequence + 1);
    assert_eq!(restored.cursor().unwrap(), Sequence(sequence + 1));
}

#[test]
fn a_restored_only_copy_has_a_new_identity() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open_local(folder.path()).unwrap();
    fill(&store, 1..=10);
    let (bytes, summary) = bytes(&store);
    // These records are not in the backup, but clients may have seen them.
    fill(&store, 11..=12);
    restore(other.path(), bytes.as_slice()).unwrap();
    let restored = tests::settled(|| Store::open_local(other.path())).unwrap();
    assert_eq!((restored.cursor().unwrap(), summary.header.sequence), (Sequence(10), 10));
    assert_ne!(restored.identity(), store.identity());
    let again = tempfile::tempdir().unwrap();
    restore(again.path(), bytes.as_slice()).unwrap();
    let again = tests::settled(|| Store::open_local(again.path())).unwrap();
    assert_ne!(again.identity(), restored.identity());
}

#[test]
fn an_existing_store_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    fill(&store, 1..=3);
    let (bytes, _) = bytes(&store);
    assert!(matches!(restore(folder.path(), bytes.as_slice()), Err(RestoreError::AlreadyThere { .. })));
    assert_eq!(store.cursor().unwrap(), Sequence(3));
    // Open the temporary directory like another process that is restoring, and then leave it behind unfinished.
    let other = tempfile::tempdir().unwrap();
    let temporary = other.path().join("restoring");
    let held = sled::Config::new().path(&temporary).open().unwrap();
    assert!(matches!(restore(other.path(), bytes.as_slice()), Err(RestoreError::Busy { .. })));
    drop(held);
    tests::settled(|| match restore(other.path(), bytes.as_slice()) {
        Err(RestoreError::Busy { path }) => Err(OpenError::InUse { path }),
        restored => {
            restored.unwrap();
            Store::open_local(other.path())
        }
    })
    .unwrap();
    assert!(!temporary.exists());
}

#[test]
fn an_invalid_backup_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    fill(&store, 1..=5);
    let (whole, _) = bytes(&store);
    assert!(check(whole.as_slice()).is_ok());
    let other = tempfile::tempdir().unwrap();
    let refused = |bytes: &[u8]| {
        let error = restore(other.path(), bytes).unwrap_err();
        assert_eq!(other.path().read_dir().unwrap().count(), 0, "{error}");
        let RestoreError::Backup(error) = error else { panic!("{error}") };
        // `check` reports the same error as `restore`.
        assert_eq!(check(bytes).unwrap_err().to_string(), error.to_string());
        error
    };
    for length in 1..whole.len() {
        let error = check(&whole[..length]).unwrap_err();
        assert!(matches!(error, ReadBackupError::CutOff), "{length}: {error}");
    }
    assert!(matches!(refused(&whole[..whole.len() - 1]), ReadBackupError::CutOff));
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        assert!(check(damaged.as_slice()).is_err(), "a flipped bit at {place}");
    }
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    refused(&damaged);
    assert!(matches!(refused(&[whole.as_slice(), b"x"].concat()), ReadBackupError::Damaged(_)));
    assert!(matches!(refused(b"slot,price\n1,2\n"), ReadBackupError::Foreign));
    assert!(matches!(refused(b""), ReadBackupError::Foreign));
    let newer = String::from_utf8_lossy(&whole[..18]).replace('1', "2");
    assert!(matches!(refused(newer.as_bytes()), ReadBackupError::TooNew));
}

#[test]
fn a_backup_whose_header_does_not_match_its_rows_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(folder.path()).unwrap();
    fill(&store, 1..=5);
    let (_, Summary { header, .. }) = bytes(&store);
    let changes: [fn(&mut Header); 3] = [
        |header| header.sequence += 1,
        |header| header.log = "another".to_owned(),
        |header| header.format = "1".to_owned(),
    ];
    for change in changes {
        let mut changed = header.clone();
        change(&mut changed);
        let mut bytes = Vec::new();
        let mut writer = file::Writer::begin(changed, &mut bytes).unwrap();
        rows(&store).iter().for_each(|(name, value)| writer.row(name, value).unwrap());
        writer.finish().unwrap();
        let other = tempfile::tempdir().unwrap();
        let refused = restore(other.path(), bytes.as_slice());
        assert!(matches!(refused, Err(RestoreError::Backup(ReadBackupError::Damaged(_)))), "{refused:?}");
    }
    for format in ["1", "3", "999"] {
        store.database.put(key::FORMAT, format.as_bytes()).unwrap();
        let other = tempfile::tempdir().unwrap();
        match restore(other.path(), bytes(&store).0.as_slice()) {
            Err(RestoreError::UnknownFormat { found, written }) => {
                assert_eq!((&*found, written), (format, "5"))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(other.path().read_dir().unwrap().count(), 0);
    }
}
