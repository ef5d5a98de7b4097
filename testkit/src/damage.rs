//! Damages the files of a stopped process in random places.
//!
//! This module knows nothing about the contents of the files. When the process opens the damaged files again, it must
//! either notice the damage or not need the data that was lost. It must never return wrong data silently.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rand::{Rng, seq::IndexedRandom as _};

/// How many bits are flipped at once.
const FLIPPED_BITS: u32 = 8;

/// The size of a block that a disk writes at once.
const BLOCK_BYTES: usize = 4_096;

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// A file is truncated.
    Truncated,
    /// Some bits of a file are flipped.
    Flipped,
    /// A block of a file is zeros, as if it was never written.
    HalfWritten,
    /// A block of a file is overwritten with another part of the same file.
    Misplaced,
    /// A file is deleted.
    Removed,
    /// A file is empty.
    Emptied,
}

impl Damage {
    /// All kinds of damage.
    pub const ALL: [Self; 6] =
        [Self::Truncated, Self::Flipped, Self::HalfWritten, Self::Misplaced, Self::Removed, Self::Emptied];

    /// Damages one of the files in a directory. Returns a description, or `None` if there is no file with contents.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or written.
    pub fn befall(self, folder: &Path, chance: &mut impl Rng) -> anyhow::Result<Option<String>> {
        let mut files = Vec::new();
        collect(folder, &mut files)?;
        // Sorted, so that a seed chooses the same file on every machine.
        files.sort();
        let Some(path) = files.choose(chance) else { return Ok(None) };
        let where_to = self.damage(path, chance).with_context(|| format!("{self} {}", path.display()))?;
        let name = path.strip_prefix(folder).unwrap_or(path).display();
        Ok(Some(format!("{self} {name} ({where_to})")))
    }

    fn damage(self, path: &Path, chance: &mut impl Rng) -> anyhow::Result<String> {
        let length = fs::metadata(path)?.len();
        ensure!(length > 0, "an empty file cannot be damaged");
        let at = chance.random_range(0..length);
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(match self {
            Self::Truncated => {
                file.set_len(at)?;
                format!("{at} of {length} bytes are left")
            }
            Self::Emptied => {
                file.set_len(0)?;
                format!("it had {length} bytes")
            }
            Self::Removed => {
                fs::remove_file(path)?;
                format!("it had {length} bytes")
            }
            Self::Flipped => {
                for _bit in 0..FLIPPED_BITS {
                    let at = chance.random_range(0..length);
                    let [byte] = read(&mut file, at, 1)?[..] else { continue };
                    write(&mut file, at, &[byte ^ (1 << chance.random_range(0..u8::BITS))])?;
                }
                format!("{FLIPPED_BITS} bits of {length} bytes")
            }
            Self::HalfWritten => {
                let block = read(&mut file, at, BLOCK_BYTES)?;
                write(&mut file, at, &vec![0; block.len()])?;
                format!("{} bytes from {at} of {length}", block.len())
            }
            Self::Misplaced => {
                let from = chance.random_range(0..length);
                let block = read(&mut file, from, BLOCK_BYTES)?;
                // Write only up to the end of the file, so that the file does not grow.
                let room = usize::try_from(length - at)?.min(block.len());
                write(&mut file, at, block.get(..room).unwrap_or(&block))?;
                format!("{room} bytes from {from} are at {at} too, of {length}")
            }
        })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Truncated => "truncated",
            Self::Flipped => "flipped bits of",
            Self::HalfWritten => "half-wrote",
            Self::Misplaced => "misplaced a block of",
            Self::Removed => "removed",
            Self::Emptied => "emptied",
        })
    }
}

/// All files in a directory and below that are not empty.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            collect(&entry.path(), files)?;
        } else if metadata.len() > 0 {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn read(file: &mut File, at: u64, length: usize) -> anyhow::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(u64::try_from(length)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(file: &mut File, at: u64, bytes: &[u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn contents(folder: &Path) -> Vec<Option<Vec<u8>>> {
        ["one", "below/other"].map(|name| fs::read(folder.join(name)).ok()).into()
    }

    #[test]
    fn each_kind_changes_one_file_and_a_seed_repeats_it() {
        for damage in Damage::ALL {
            let done = [7, 7].map(|seed| {
                let folder = tempfile::tempdir().unwrap();
                fs::create_dir(folder.path().join("below")).unwrap();
                let text: Vec<u8> = (1..=250).cycle().take(100_000).collect();
                fs::write(folder.path().join("one"), &text).unwrap();
                fs::write(folder.path().join("below/other"), &text).unwrap();
                fs::write(folder.path().join("empty"), "").unwrap();
                let before = contents(folder.path());
                let what = damage.befall(folder.path(), &mut StdRng::seed_from_u64(seed)).unwrap().unwrap();
                let after = contents(folder.path());
                let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
                assert_eq!(changed, 1, "{what}");
                (what, after)
            });
            assert!(done[0] == done[1], "{damage}");
        }
    }

    #[test]
    fn an_empty_file_is_not_damaged() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("empty"), "").unwrap();
        assert_eq!(Damage::Removed.befall(folder.path(), &mut StdRng::seed_from_u64(1)).unwrap(), None);
    }
}
