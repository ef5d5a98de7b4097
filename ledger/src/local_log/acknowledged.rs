//! The newest position that was acknowledged, noted beside the store.
//!
//! sled drops what it cannot read at the end of its log when it opens, and says nothing. In a copy that does not
//! matter, but here the store is the log: what it has lost must be named, and its positions not be given again.
//! The note is one line, written over in place after every acknowledgement; like the store it survives this
//! process, and promises nothing about power failure.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use common::{bus::LogIdentity, domain::Sequence};

use crate::store::{ACKNOWLEDGED, Store};

/// The note.
#[derive(Debug)]
pub(super) struct Acknowledged {
    identity: LogIdentity,
    file: Option<File>,
}

impl Acknowledged {
    /// The note beside a store, and the position in it; none where there is no note about this log.
    pub(super) fn open(store: &Store) -> (Self, Option<Sequence>) {
        let path = store.path().with_file_name(ACKNOWLEDGED);
        let identity = store.identity().clone();
        let noted = fs::read_to_string(&path).ok().and_then(|line| read(&line, &identity));
        let file = create(&path).inspect_err(|error| {
            tracing::warn!(%error, path = %path.display(), "cannot note what is acknowledged; going on without");
        });
        (Self { identity, file: file.ok() }, noted)
    }

    /// Notes a position.
    pub(super) fn note(&self, position: Sequence) {
        let line = format!("{} {:020}\n", self.identity, position.0);
        // Where it cannot be written a loss goes unnoticed, as it would without the note.
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.write_all_at(line.as_bytes(), 0)) {
            tracing::debug!(%error, "cannot note what is acknowledged");
        }
    }
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
    fn what_was_noted_is_found_again_for_the_same_log_alone() {
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
