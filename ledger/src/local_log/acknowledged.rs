//! The newest acknowledged sequence, kept in a file beside the store.
//!
//! When sled opens a store, it silently drops what it cannot read at the end of the store's files. If the store is a
//! copy of a NATS log, that does not matter, because the dropped records are read from the log again. But the store of
//! an in-process log is the only copy. So a loss of records must be reported, and the sequences of the lost records
//! must not be used again. The file has one line, which is overwritten in place after every acknowledgement. Like the
//! store, the file survives a crash of this process, but not necessarily a power failure.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use common::{bus::LogIdentity, domain::Sequence};

use crate::store::{ACKNOWLEDGED, Store};

#[derive(Debug)]
pub(super) struct Acknowledged {
    identity: LogIdentity,
    file: Option<File>,
}

impl Acknowledged {
    /// Opens the file beside a store. Also returns the sequence in the file, if it was written for the store's log.
    pub(super) fn open(store: &Store) -> (Self, Option<Sequence>) {
        let (path, noted) = (path(store), noted(store));
        let file = create(&path).inspect_err(|error| {
            tracing::warn!(
                event = "acknowledgements_not_recorded", %error, path = %path.display(),
                "cannot open the file for acknowledged sequences; if the store loses records, that will go unnoticed"
            );
        });
        (Self { identity: store.identity().clone(), file: file.ok() }, noted)
    }

    /// Writes an acknowledged sequence to the file.
    pub(super) fn note(&self, position: Sequence) {
        let line = format!("{} {:020}\n", self.identity, position.0);
        // If this fails, a loss of records goes unnoticed, as it would without the file.
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.write_all_at(line.as_bytes(), 0)) {
            tracing::debug!(
                event = "acknowledgement_not_recorded", %error,
                "cannot write an acknowledged sequence; if the store loses this record, that will go unnoticed"
            );
        }
    }
}

/// The sequence in the file beside a store, if it was written for the store's log.
pub(super) fn noted(store: &Store) -> Option<Sequence> {
    read(&fs::read_to_string(path(store)).ok()?, store.identity())
}

fn path(store: &Store) -> PathBuf {
    store.path().with_file_name(ACKNOWLEDGED)
}

fn create(path: &PathBuf) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

fn read(line: &str, identity: &LogIdentity) -> Option<Sequence> {
    let (named, position) = line.lines().next()?.split_once(' ')?;
    (named == identity.as_str()).then(|| position.parse().ok().map(Sequence))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_sequence_is_found_for_the_same_log_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_local(folder.path()).unwrap();
        let (note, nothing) = Acknowledged::open(&store);
        assert_eq!(nothing, None);
        for position in [7, 1_000, 1_001] {
            note.note(Sequence(position));
        }
        assert_eq!(Acknowledged::open(&store).1, Some(Sequence(1_001)));
        let path = folder.path().join(ACKNOWLEDGED);
        let line = fs::read_to_string(&path).unwrap();
        for other in ["", "nonsense", "local0 00000000000000001001\n", &line.replace("1001", "x")] {
            fs::write(&path, other).unwrap();
            assert_eq!(Acknowledged::open(&store).1, None, "{other}");
        }
    }
}
