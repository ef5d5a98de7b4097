//! API keys of sources: reading them from the settings, sending them, and keeping them secret.

use std::{fs::File, io::Read, path::Path};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// The longest key file that is read. Keys have about thirty characters. The bound protects against paths such as
/// /dev/zero, which never end.
const MAX_KEY_BYTES: u64 = 4_096;

/// Replaces a key wherever settings are shown.
pub const REDACTED: &str = "[redacted]";

common::words! {
    /// The kind of account that a key belongs to. The base URL, the header and the rate limit may depend on it.
    pub enum Plan ("plan") {
        /// A free account.
        Demo = "demo",
        /// A paid account.
        Pro = "pro",
    }
}

/// A key, ready to be sent. Its `Debug` output does not contain the key: the header value is marked as
/// sensitive.
#[derive(Debug, Clone)]
pub struct Key {
    plan: Plan,
    value: HeaderValue,
}

/// Why a key cannot be used. No message contains the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Two keys are set.
    #[error("key and key_file are both set; remove one of them")]
    Both,
    /// The key is the placeholder that `config show` prints instead of a key.
    #[error("key: {REDACTED} is the placeholder that `tickwell config show` prints; set the key itself")]
    Shown,
    /// The file cannot be read.
    #[error("key_file: cannot read {path}: {reason}")]
    Unreadable {
        /// The path of the file.
        path: String,
        /// The I/O error.
        reason: std::io::Error,
    },
    /// The file contains no key.
    #[error("key_file: {path} is empty; write the key into it")]
    Empty {
        /// The path of the file.
        path: String,
    },
    /// The file is too long to be a key.
    #[error("key_file: {path} is longer than {MAX_KEY_BYTES} bytes, so it does not contain just a key")]
    TooLong {
        /// The path of the file.
        path: String,
    },
    /// The key contains characters that cannot be sent in a header.
    #[error("{setting}: a key consists of printable ASCII characters without spaces")]
    Characters {
        /// The setting that the key came from.
        setting: &'static str,
    },
    /// The source takes no keys.
    #[error("{setting}: {name} takes no API key; remove this setting")]
    NotTaken {
        /// The setting.
        setting: &'static str,
        /// The source.
        name: String,
    },
    /// The plan requires a key.
    #[error("plan: the plan pro needs an API key; set key or key_file")]
    Needed,
    /// The key would be sent unencrypted.
    #[error("url: a key is not sent over plain http except to this machine; use https")]
    Plain,
}

impl Key {
    /// The key of a source from its setting or its file. None if neither is set.
    pub fn find(key: &SecretString, file: &Path, plan: Option<Plan>) -> Result<Option<Self>, KeyError> {
        let has_file = !file.as_os_str().is_empty();
        let (setting, secret) = match (key.expose_secret(), has_file) {
            ("", false) if plan == Some(Plan::Pro) => return Err(KeyError::Needed),
            ("", false) => return Ok(None),
            ("", true) => ("key_file", read(file)?),
            (_, true) => return Err(KeyError::Both),
            (REDACTED, false) => return Err(KeyError::Shown),
            (_, false) => ("key", key.clone()),
        };
        let graphic = secret.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(secret.expose_secret()).ok().filter(|_| graphic);
        let mut value = value.ok_or(KeyError::Characters { setting })?;
        value.set_sensitive(true);
        Ok(Some(Self { plan: plan.unwrap_or(Plan::Demo), value }))
    }

    /// The plan that the key belongs to.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// The key as a header value, marked as sensitive.
    pub(super) fn value(&self) -> HeaderValue {
        self.value.clone()
    }
}

/// The key in a file, without trailing line breaks.
fn read(file: &Path) -> Result<SecretString, KeyError> {
    let path = file.display().to_string();
    let unreadable = |reason| KeyError::Unreadable { path: path.clone(), reason };
    let mut text = String::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(MAX_KEY_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_KEY_BYTES) {
        return Err(KeyError::TooLong { path });
    }
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(KeyError::Empty { path }),
        key => Ok(key.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "CG-abcdefghijklmnopqrstuvwx";

    fn find(key: &str, file: &Path, plan: Option<Plan>) -> Result<Option<Key>, KeyError> {
        Key::find(&key.to_owned().into(), file, plan)
    }

    #[test]
    fn a_key_comes_from_its_setting_or_its_file() {
        let nothing = Path::new("");
        assert!(find("", nothing, None).unwrap().is_none());
        let key = find(SECRET, nothing, None).unwrap().unwrap();
        assert_eq!((key.plan(), key.value().to_str().unwrap()), (Plan::Demo, SECRET));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, format!("{SECRET}\r\n")).unwrap();
        let key = find("", &file, Some(Plan::Pro)).unwrap().unwrap();
        assert_eq!((key.plan(), key.value().to_str().unwrap()), (Plan::Pro, SECRET));
    }

    #[test]
    fn invalid_keys_are_refused_and_never_repeated_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let nothing = std::path::PathBuf::new();
        let good = file("good", SECRET.as_bytes());
        type Case<'a> = (&'a str, &'a Path, Option<Plan>, fn(&KeyError) -> bool);
        let cases: [Case; 10] = [
            (SECRET, &good, None, |error| matches!(error, KeyError::Both)),
            ("", &folder.path().join("absent"), None, |error| matches!(error, KeyError::Unreadable { .. })),
            ("", &file("empty", b"\n"), None, |error| matches!(error, KeyError::Empty { .. })),
            ("", &file("long", &[b'x'; 5_000]), None, |error| matches!(error, KeyError::TooLong { .. })),
            ("", &file("binary", b"\xff\xfe"), None, |error| matches!(error, KeyError::Unreadable { .. })),
            ("", &file("two lines", b"CG-abc\nCG-def\n"), None, |error| {
                matches!(error, KeyError::Characters { setting: "key_file" })
            }),
            ("CG-abc def", &nothing, None, |error| matches!(error, KeyError::Characters { setting: "key" })),
            ("CG-\u{e4}bc", &nothing, None, |error| matches!(error, KeyError::Characters { setting: "key" })),
            (REDACTED, &nothing, None, |error| matches!(error, KeyError::Shown)),
            ("", &nothing, Some(Plan::Pro), |error| matches!(error, KeyError::Needed)),
        ];
        for (key, path, plan, is_expected) in cases {
            let error = find(key, path, plan).unwrap_err();
            assert!(is_expected(&error), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("CG-"), "{error}");
        }
        let key = find(SECRET, &nothing, None).unwrap();
        assert!(!format!("{key:?}").contains(SECRET));
    }
}
