//! The key that a pod asks for, where it has `api.keys`.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// Where a key is looked for that is in no file. It cannot be an argument: those, every user of a machine can read.
const VARIABLE: &str = "TICKWELL_API_KEY";

/// More than any key has. A file that is longer is another one.
const MAX_KEY_BYTES: usize = 4_096;

/// Where the key is.
#[derive(Debug, Default, Args)]
pub(crate) struct KeyArguments {
    /// The file with the key, for pods that ask for one (api.keys); if absent, the variable TICKWELL_API_KEY
    /// is the key
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// A key, if there is one. It is not in what is written of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Key(Option<HeaderValue>);

impl KeyArguments {
    /// The key that was given, from the file or else from the environment.
    pub(crate) fn find(&self) -> Result<Key> {
        find(self.key_file.as_deref(), std::env::var_os(VARIABLE))
    }
}

impl Key {
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// What each request carries.
    pub(super) fn headers(&self) -> HeaderMap {
        self.0.iter().map(|value| (AUTHORIZATION, value.clone())).collect()
    }
}

/// What somebody is told who is refused for want of a key, or for the one that was sent.
pub(super) fn advice(key: &Key) -> String {
    match key.is_some() {
        true => format!("it does not know the key that was sent; look at --key-file, or {VARIABLE}"),
        false => {
            format!(
                "it asks for a key: name the file that it is in with --key-file, or put it into {VARIABLE}"
            )
        }
    }
}

fn find(file: Option<&Path>, variable: Option<OsString>) -> Result<Key> {
    let (place, text) = match (file, variable.filter(|text| !text.is_empty())) {
        (Some(file), _) => {
            let place = format!("--key-file: {}", file.display());
            (place.clone(), read(file).with_context(|| format!("{place} cannot be read"))?)
        }
        (None, Some(text)) => (VARIABLE.to_owned(), text.into_encoded_bytes()),
        (None, None) => return Ok(Key(None)),
    };
    ensure!(text.len() <= MAX_KEY_BYTES, "{place}: a key has at most {MAX_KEY_BYTES} bytes");
    let key = text.trim_ascii_end();
    ensure!(!key.is_empty(), "{place}: there is no key in it");
    // The key itself is in no message.
    ensure!(
        key.iter().all(u8::is_ascii_graphic),
        "{place}: a key has letters, digits and signs, all ASCII and without spaces"
    );
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", key].concat()).with_context(|| place)?;
    value.set_sensitive(true);
    Ok(Key(Some(value)))
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(file)?.take(MAX_KEY_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_from_the_file_or_else_from_the_environment_and_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "of-the-file\r\n").unwrap();
        let sent =
            |key: &Key| key.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let variable = || Some(OsString::from("of-the-variable"));
        assert_eq!(sent(&find(None, None).unwrap()), None);
        assert_eq!(sent(&find(None, Some(OsString::new())).unwrap()), None);
        assert_eq!(sent(&find(None, variable()).unwrap()).unwrap(), "Bearer of-the-variable");
        let key = find(Some(&file), variable()).unwrap();
        assert_eq!(sent(&key).unwrap(), "Bearer of-the-file");
        assert!(!format!("{key:?}{:?}", key.headers()).contains("of-the"), "{key:?}");
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_place_and_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        for (text, expected) in [
            ("\n".to_owned(), "no key"),
            ("two words".to_owned(), "without spaces"),
            ("two\nlines".to_owned(), "without spaces"),
            ("two".repeat(MAX_KEY_BYTES), "at most"),
        ] {
            std::fs::write(&file, &text).unwrap();
            let said = format!("{:#}", find(Some(&file), None).unwrap_err());
            assert!(said.starts_with("--key-file: ") && said.contains(expected), "{said}");
            assert!(!said.contains("two"), "{said}");
            let said = format!("{:#}", find(None, Some(text.into())).unwrap_err());
            assert!(said.starts_with(VARIABLE) && said.contains(expected) && !said.contains("two"), "{said}");
        }
        let said = format!("{:#}", find(Some(Path::new("/no/such")), None).unwrap_err());
        assert!(said.contains("/no/such cannot be read"), "{said}");
    }
}
