//! The files of the page, embedded in the binary.

use sha2::{Digest, Sha256};

/// The page itself, with placeholders.
pub(super) const TEMPLATE: &str = include_str!("../../../web/index.html");

/// A file that the page loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    name: &'static str,
    pub(super) text: &'static str,
}

/// Embeds files by name.
macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        &[$(File { name: $name, text: include_str!(concat!("../../../web/", $name)) }),+]
    };
}

/// Every file that the page loads.
const FILES: &[File] = embedded![
    "app.css",
    "app.js",
    "chart.js",
    "feed.js",
    "feeds.html",
    "gestures.js",
    "icon.svg",
    "panels.js",
    "scale.js",
    "series.js",
    "status.js",
    "text.js",
];

impl File {
    /// The file with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        FILES.iter().find(|file| file.name == name).copied()
    }

    /// The media type, from the extension of the name.
    pub(super) fn content_type(self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "application/octet-stream",
        }
    }
}

/// The name of the directory that contains the files of this build. The name changes with the content of any file. So
/// each file can be cached forever, and modules that import each other by relative paths come from the same build.
pub(super) fn build() -> String {
    name_of(FILES)
}

fn name_of(files: &[File]) -> String {
    let mut digest = Sha256::new();
    for part in files.iter().flat_map(|file| [file.name, file.text]) {
        // The length separates the parts; otherwise moving text from one file to the next would not change the name.
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    let number = u64::from_be_bytes(digest.finalize().first_chunk().copied().unwrap_or_default());
    format!("{number:016x}")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web");

    #[test]
    fn every_file_in_the_directory_is_embedded() {
        let found =
            fs::read_dir(DIRECTORY).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let embedded: BTreeSet<String> =
            FILES.iter().map(|file| file.name.to_owned()).chain(["index.html".to_owned()]).collect();
        assert_eq!(found.collect::<BTreeSet<String>>(), embedded);
        for file in FILES {
            assert_ne!(file.content_type(), "application/octet-stream", "{}", file.name);
        }
    }

    #[test]
    fn the_name_changes_with_any_of_the_files() {
        let file = |name, text| File { name, text };
        let one = [file("a.js", "1"), file("b.js", "2")];
        let others = [
            vec![file("a.js", "1"), file("b.js", "3")],
            vec![file("a.js", "0"), file("b.js", "2")],
            vec![file("a.js", "1"), file("c.js", "2")],
            vec![file("a.js", "1"), file("b.js", "2"), file("c.js", "")],
            vec![file("a.js", "1")],
            vec![file("a.js", "1b"), file(".js", "2")],
            vec![file("a.js1", ""), file("b.js", "2")],
        ];
        let names: BTreeSet<String> = others.iter().map(|files| name_of(files)).collect();
        assert_eq!((names.len(), names.contains(&name_of(&one))), (others.len(), false));
        assert_eq!(name_of(&one), name_of(&one.clone()));
        assert!(name_of(&one).len() == 16 && name_of(&one).bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
}
