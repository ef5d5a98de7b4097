//! Keys to sources: how they come in, how they are sent, and how they stay unseen.

use std::{fs::File, io::Read, path::Path};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// The longest key file we read. Keys have some thirty characters; a device has no end.
const MAX_KEY_BYTES: u64 = 4_096;

/// What stands for a key where settings are shown.
pub const REDACTED: &str = "[redacted]";

common::words! {
    /// What a key was given for; it decides about address and header.
    pub enum Plan ("plan") {
        /// CoinGecko's free plan, with a limit a minute.
        Demo = "demo",
        /// CoinGecko's paid plans, at an address of their own.
        Pro = "pro",
    }
}

/// A key as it is sent. It has no text: the header's value is marked as sensitive, and what shows headers
/// shows `Sensitive`.
#[derive(Debug, Clone)]
pub struct Key {
    plan: Plan,
    value: HeaderValue,
}

/// Why a key cannot be used. No message contains the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Two of them.
    #[error("key and key_file are both set: leave one out")]
    Both,
    /// What `config show` prints, and not a key.
    #[error("key: {REDACTED} is what `tickwell config show` prints in place of a key: write the key itself")]
    Shown,
    /// A file that cannot be read.
    #[error("key_file: cannot read {path}: {reason}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why not.
        reason: std::io::Error,
    },
    /// A file without a key.
    #[error("key_file: {path} is empty")]
    Empty {
        /// Which file.
        path: String,
    },
    /// A file with anything but a key.
    #[error("key_file: {path} is longer than any key ({MAX_KEY_BYTES} bytes)")]
    TooLong {
        /// Which file.
        path: String,
    },
    /// Characters that no key has and no header takes.
    #[error("{setting}: a key has letters, digits and signs, all ASCII and without spaces")]
    Characters {
        /// Where the key came from.
        setting: &'static str,
    },
    /// A source without keys.
    #[error("{setting}: {name} takes none")]
    NotTaken {
        /// What was set.
        setting: &'static str,
        /// For whom.
        name: String,
    },
    /// A plan that is nothing without a key.
    #[error("plan: pro needs a key or a key_file")]
    Needed,
    /// Everybody on the way could read the key.
    #[error("url: a key is not sent over plain http, except to this machine: use https")]
    Plain,
}

impl Key {
    /// The key of a source, from its setting or its file; nothing where neither is set.
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

    /// What it was given for.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// The header that carries it: CoinGecko ignores a key under a wrong name.
    pub(super) fn header(&self) -> (&'static str, HeaderValue) {
        let name = match self.plan {
            Plan::Demo => "x-cg-demo-api-key",
            Plan::Pro => "x-cg-pro-api-key",
        };
        (name, self.value.clone())
    }
}

/// The key in a file, without the line ends behind it.
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
        assert_eq!((key.header().0, key.header().1.to_str().unwrap()), ("x-cg-demo-api-key", SECRET));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, format!("{SECRET}\r\n")).unwrap();
        let key = find("", &file, Some(Plan::Pro)).unwrap().unwrap();
        assert_eq!((key.header().0, key.header().1.to_str().unwrap()), ("x-cg-pro-api-key", SECRET));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_and_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let nothing = std::path::PathBuf::new();
        let good = file("good", SECRET.as_bytes());
        for (key, path, plan, expected) in [
            (SECRET, &good, None, "both set"),
            ("", &folder.path().join("absent"), None, "absent"),
            ("", &file("empty", b"\n"), None, "empty"),
            ("", &file("long", &[b'x'; 5_000]), None, "longer"),
            ("", &file("binary", b"\xff\xfe"), None, "binary"),
            ("", &file("two lines", b"CG-abc\nCG-def\n"), None, "key_file: a key has"),
            ("CG-abc def", &nothing, None, "key: a key has"),
            ("CG-\u{e4}bc", &nothing, None, "key: a key has"),
            (REDACTED, &nothing, None, "config show"),
            ("", &nothing, Some(Plan::Pro), "needs a key"),
        ] {
            let error = find(key, path, plan).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains(expected), "{expected}: {said}");
            assert!(!said.contains("CG-"), "{said}");
        }
        let key = find(SECRET, &nothing, None).unwrap();
        assert!(!format!("{key:?}").contains(SECRET));
    }
}
