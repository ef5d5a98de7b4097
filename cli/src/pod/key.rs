//! The API key that a pod requires if it has `api.keys`.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

/// The environment variable with the key, if no file is given. There is no flag for the key itself, because every user
/// of a machine can read the arguments of its processes.
const VARIABLE: &str = "TICKWELL_API_KEY";

/// The longest key. A longer file is probably not a key file.
const MAX_KEY_BYTES: usize = 4_096;

/// Where to find the key.
#[derive(Debug, Default, Args)]
pub(crate) struct KeyArguments {
    /// A file that contains the API key, for pods that require one (api.keys). If not given, the key is read from the
    /// environment variable TICKWELL_API_KEY
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

/// The key, if there is one. Debug output does not contain it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Key(Option<HeaderValue>);

impl KeyArguments {
    /// Reads the key from the file, or else from the environment.
    pub(crate) fn find(&self) -> Result<Key> {
        find(self.key_file.as_deref(), std::env::var_os(VARIABLE))
    }
}

impl Key {
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// The headers that every request carries.
    pub(super) fn headers(&self) -> HeaderMap {
        self.0.iter().map(|value| (AUTHORIZATION, value.clone())).collect()
    }
}

/// What to do if a pod refuses a request because of its key, or because there is none.
pub(super) fn advice(key: &Key) -> String {
    match key.is_some() {
        true => format!("the API key is not valid; check --key-file or {VARIABLE}"),
        false => format!("an API key is required; give a file with --key-file, or set {VARIABLE}"),
    }
}

fn find(file: Option<&Path>, variable: Option<OsString>) -> Result<Key> {
    let (place, text) = match (file, variable.filter(|text| !text.is_empty())) {
        (Some(file), _) => {
            let place = format!("--key-file: {}", file.display());
            (place.clone(), read(file).with_context(|| format!("{place}: cannot read the file"))?)
        }
        (None, Some(text)) => (VARIABLE.to_owned(), text.into_encoded_bytes()),
        (None, None) => return Ok(Key(None)),
    };
    ensure!(text.len() <= MAX_KEY_BYTES, "{place}: a key has at most {MAX_KEY_BYTES} bytes");
    let key = text.trim_ascii_end();
    ensure!(!key.is_empty(), "{place}: the key is empty");
    // Error messages must not contain the key.
    ensure!(
        key.iter().all(u8::is_ascii_graphic),
        "{place}: a key must consist of visible ASCII characters, without spaces"
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
    fn a_key_comes_from_the_file_or_else_from_the_environment_and_is_not_printed() {
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
    fn an_invalid_key_is_refused_without_being_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        for (text, expected) in [
            ("\n".to_owned(), "is empty"),
            ("two words".to_owned(), "without spaces"),
            ("two\nlines".to_owned(), "without spaces"),
            ("two".repeat(MAX_KEY_BYTES), "at most"),
        ] {
            std::fs::write(&file, &text).unwrap();
            let message = format!("{:#}", find(Some(&file), None).unwrap_err());
            assert!(message.starts_with("--key-file: ") && message.contains(expected), "{message}");
            assert!(!message.contains("two"), "{message}");
            let message = format!("{:#}", find(None, Some(text.into())).unwrap_err());
            assert!(
                message.starts_with(VARIABLE) && message.contains(expected) && !message.contains("two"),
                "{message}"
            );
        }
        let message = format!("{:#}", find(Some(Path::new("/no/such")), None).unwrap_err());
        assert!(message.contains("--key-file: /no/such"), "{message}");
    }
}
