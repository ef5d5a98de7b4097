//! The files of the page, all of them in the binary.

use sha2::{Digest, Sha256};

/// The page itself, with marks where something is filled in.
pub(super) const TEMPLATE: &str = include_str!("../../../web/index.html");

/// A file that the page loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    name: &'static str,
    pub(super) text: &'static str,
}

/// Embeds files by their names.
macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        &[$(File { name: $name, text: include_str!(concat!("../../../web/", $name)) }),+]
    };
}

/// Every file that the page loads.
const FILES: &[File] = embedded!["app.css", "app.js", "icon.svg"];

impl File {
    /// The file of a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        FILES.iter().find(|file| file.name == name).copied()
    }

    /// What it is, by the end of its name.
    pub(super) fn content_type(self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "application/octet-stream",
        }
    }
}

/// One name for this build's files together, another one as soon as any of them changes: under it each can be held
/// for ever, and modules that import one another by relative names are of one build.
pub(super) fn build() -> String {
    name_of(FILES)
}

fn name_of(files: &[File]) -> String {
    let mut digest = Sha256::new();
    for part in files.iter().flat_map(|file| [file.name, file.text]) {
        // With its length: else what ends one file could as well begin the next.
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    let number = u64::from_be_bytes(digest.finalize().first_chunk().copied().unwrap_or_default());
    format!("{number:016x}")
}
