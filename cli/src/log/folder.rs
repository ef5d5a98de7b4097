//! The directory of a backup. It has the layout of `nats stream backup`, plus checksums for `sha256sum --check`.

use std::{
    fs::{self, File},
    io::{self, BufWriter, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use common::bus::nats::Description;
use sha2::{Digest, Sha256};

use crate::progress::{Progress, far};

/// The stream's options, and a summary of its contents.
pub(super) const DESCRIPTION: &str = "backup.json";

/// The stream, in the server's format.
pub(super) const CONTENT: &str = "stream.tar.s2";

pub(super) const CHECKSUMS: &str = "SHA256SUMS";

/// The suffix of a directory whose backup is not complete.
pub(super) const PART: &str = ".part";

/// How much of the content is read at once to verify it.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A backup in progress. Its directory has the suffix [`PART`] until the backup is complete. If the backup fails, the
/// directory is deleted.
pub(super) struct Growing {
    folder: PathBuf,
    part: Part,
    content: BufWriter<File>,
    digest: Sha256,
    bytes: u64,
}

/// The directory of a backup in progress. Dropping it deletes the directory.
struct Part(PathBuf);

/// A backup that is complete.
pub(super) struct Backup {
    pub(super) description: Description,
    /// The file with the stream, opened at its beginning.
    pub(super) content: File,
    /// The size of the content.
    pub(super) bytes: u64,
    /// Whether the checksums were verified. Backups created by other programs have no checksums.
    pub(super) is_checked: bool,
}

impl Growing {
    /// Starts a backup. The directory gets its final name when the backup is complete.
    pub(super) fn begin(folder: &Path) -> Result<Self> {
        let name = folder.display();
        ensure!(!folder.exists(), "{name} exists already: use another directory");
        let mut part = folder.as_os_str().to_owned();
        part.push(PART);
        let part = PathBuf::from(part);
        let parent = part.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.map_or(Ok(()), fs::create_dir_all);
        let created = parent.and_then(|()| fs::create_dir(&part));
        if created.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
            bail!(
                "{} exists already: wait if another backup is writing it; otherwise it is left over from an interrupted \
                 backup, so delete it",
                part.display()
            );
        }
        created.with_context(|| format!("cannot create {}", part.display()))?;
        let part = Part(part);
        let content =
            File::create_new(part.0.join(CONTENT)).with_context(|| format!("cannot write {name}"))?;
        let folder = folder.to_owned();
        Ok(Self { folder, part, content: BufWriter::new(content), digest: Sha256::new(), bytes: 0 })
    }

    /// Adds a piece of the stream.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<()> {
        let written = self.content.write_all(piece);
        written.with_context(|| format!("cannot write {}", self.part.0.display()))?;
        self.digest.update(piece);
        self.bytes += u64::try_from(piece.len())?;
        Ok(())
    }

    /// How many bytes were written.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Completes the backup: writes everything to disk, then renames the directory.
    pub(super) fn finish(self, description: &Description) -> Result<()> {
        let Self { folder, part, content, digest, .. } = self;
        let description = format!("{}\n", serde_json::to_string_pretty(description)?);
        let checksums = format!(
            "{:x}  {CONTENT}\n{:x}  {DESCRIPTION}\n",
            digest.finalize(),
            Sha256::digest(description.as_bytes())
        );
        let keep = || -> io::Result<()> {
            content.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            write_synced(&part.0.join(DESCRIPTION), &description)?;
            write_synced(&part.0.join(CHECKSUMS), &checksums)?;
            File::open(&part.0)?.sync_all()?;
            fs::rename(&part.0, &folder)?;
            // The new name is an entry of the parent directory, so that directory is synced too.
            let around = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(around.unwrap_or(Path::new(".")))?.sync_all()
        };
        keep().with_context(|| format!("cannot write {}", folder.display()))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // If the backup was completed, the directory no longer has this name, so nothing is deleted.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

impl Backup {
    /// Opens a backup of a stream, and checks that it is complete and undamaged.
    pub(super) fn open(folder: &Path, stream: &str) -> Result<Self> {
        let name = folder.display();
        ensure!(folder.is_dir(), "there is no directory {name}");
        let mut several = names(folder).with_context(|| format!("cannot read {name}"))?;
        several.retain(|name| moment(stream, name).is_some());
        if !several.is_empty() {
            several.sort();
            bail!("{name} contains several backups, choose one of them: {}", several.join(", "));
        }
        ensure!(
            !folder.as_os_str().to_string_lossy().ends_with(PART),
            "{name} is an incomplete backup: use another one"
        );
        let missing = |file| format!("{name} is not a complete backup: cannot read {file}");
        let text = fs::read(folder.join(DESCRIPTION)).with_context(|| missing(DESCRIPTION))?;
        let content = File::open(folder.join(CONTENT)).with_context(|| missing(CONTENT))?;
        let bytes = content.metadata()?.len();
        let is_checked = match fs::read_to_string(folder.join(CHECKSUMS)) {
            Ok(checksums) => {
                let expected = |file: &str| checksum(&checksums, file);
                let damaged =
                    |file| format!("{name} is damaged: {file} does not match its checksum in {CHECKSUMS}");
                ensure!(
                    expected(DESCRIPTION) == Some(format!("{:x}", Sha256::digest(&text))),
                    damaged(DESCRIPTION)
                );
                ensure!(expected(CONTENT) == Some(digest(&content, bytes)?), damaged(CONTENT));
                true
            }
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error).with_context(|| missing(CHECKSUMS)),
        };
        let description: Description = serde_json::from_slice(&text)
            .with_context(|| format!("{name}: {DESCRIPTION} does not describe a stream"))?;
        let held = description.stream();
        ensure!(
            held == stream,
            "{name} is a backup of the stream {held}, but bus.stream is {stream}; use a backup of {stream}, or set \
             bus.stream"
        );
        let content = File::open(folder.join(CONTENT))?;
        Ok(Self { description, content, bytes, is_checked })
    }
}

/// The time in the name of a dated backup of a stream (TICKS-20261121T030000Z). `None` if the name has another form.
pub(super) fn moment<'a>(stream: &str, name: &'a str) -> Option<&'a str> {
    let moment = name.strip_prefix(stream)?.strip_prefix('-')?;
    let (date, time) = moment.strip_suffix(PART).unwrap_or(moment).strip_suffix('Z')?.split_once('T')?;
    let digits =
        |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(date, 8) && digits(time, 6)).then_some(moment)
}

/// The names of everything in a directory.
pub(super) fn names(folder: &Path) -> io::Result<Vec<String>> {
    Ok(fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// The checksum of a file in a list of checksums.
fn checksum(list: &str, file: &str) -> Option<String> {
    list.lines()
        .filter_map(|line| line.split_once("  "))
        .find(|(_, name)| *name == file)
        .map(|(sum, _)| sum.to_owned())
}

fn digest(mut content: &File, bytes: u64) -> Result<String> {
    let (mut digest, mut progress, mut done) = (Sha256::new(), Progress::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = content.read(&mut chunk)?;
        let Some(read) = chunk.get(..length).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
        done += u64::try_from(length)?;
        progress.show(|| format!("checking: {}", far(done, Some(bytes))));
    }
    Ok(format!("{:x}", digest.finalize()))
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
