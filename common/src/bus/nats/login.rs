//! How a process logs in to NATS: with a key, with a user name and a password, with a token, or not at all.
//!
//! A key or a password in a file is read again for each connection, so that a replaced file takes effect without a
//! restart. Error messages never contain a key, a password or a token.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use async_nats::Auth;

use super::credentials::{Credentials, CredentialsError};
use crate::{
    bus::{
        BusConfig,
        address::{Servers, UrlLogin},
    },
    telemetry::chain,
};

/// The longest password file that is read. The bound protects against paths such as /dev/zero, which never end.
const MAX_PASSWORD_BYTES: u64 = 4_096;

/// How a process logs in.
#[derive(Clone)]
pub(super) enum Login {
    Anonymous,
    /// `bus.credentials_file`.
    Key(PathBuf),
    /// `bus.user` and `bus.password_file`.
    File {
        user: String,
        path: PathBuf,
    },
    /// A login in `bus.url`.
    Url(UrlLogin),
}

/// Why the settings of the login cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The credentials file cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// There is more than one login.
    #[error("{0} and {1} are both set, but a process has only one login: remove one of them")]
    Several(&'static str, &'static str),
    /// There is a user name without a password.
    #[error("bus.password_file: missing; set it to a file with the password of bus.user")]
    NoPassword,
    /// There is a password without a user name.
    #[error("bus.user: missing; set it to the user that the password in bus.password_file belongs to")]
    NoUser,
    /// The password file cannot be read.
    #[error("bus.password_file: cannot read {path}")]
    Unreadable {
        /// The path of the file.
        path: String,
        /// The underlying error.
        #[source]
        source: std::io::Error,
    },
    /// The password file does not contain a password.
    #[error("bus.password_file: {path} {fault}")]
    NotPassword {
        /// The path of the file.
        path: String,
        /// What is wrong with its content.
        fault: &'static str,
    },
}

/// Checks the settings of the login, and the file that they name.
pub fn check_login(config: &BusConfig) -> Result<(), LoginError> {
    let url_login = Servers::parse(&config.url).ok().and_then(|servers| servers.login);
    Login::find(config, url_login).map(drop)
}

impl Login {
    /// The login in the settings. Reads the file, so that a fault in it is reported when the process starts.
    pub(super) fn find(config: &BusConfig, in_url: Option<UrlLogin>) -> Result<Self, LoginError> {
        let BusConfig { credentials_file, user, password_file, .. } = config;
        let is_set = |path: &Path| !path.as_os_str().is_empty();
        match (is_set(credentials_file), user.is_empty(), is_set(password_file), in_url) {
            (true, false, ..) => Err(LoginError::Several("bus.credentials_file", "bus.user")),
            (true, _, true, _) => Err(LoginError::Several("bus.credentials_file", "bus.password_file")),
            (true, .., Some(_)) => {
                Err(LoginError::Several("bus.credentials_file", "the user name in bus.url"))
            }
            (_, false, _, Some(_)) => Err(LoginError::Several("bus.user", "the user name in bus.url")),
            (_, true, true, _) => Err(LoginError::NoUser),
            (_, false, false, _) => Err(LoginError::NoPassword),
            (true, ..) => {
                Credentials::read(credentials_file)?;
                Ok(Self::Key(credentials_file.clone()))
            }
            (_, false, true, None) => {
                read_password(password_file)?;
                Ok(Self::File { user: user.clone(), path: password_file.clone() })
            }
            (.., Some(login)) => Ok(Self::Url(login)),
            (.., None) => Ok(Self::Anonymous),
        }
    }

    /// Responds to a server's challenge. The error is for people.
    pub(super) fn respond(&self, nonce: &[u8]) -> Result<Auth, String> {
        let with_password = |user: &String, password: String| {
            let mut auth = Auth::new();
            (auth.username, auth.password) = (Some(user.clone()), Some(password));
            auth
        };
        match self {
            Self::Anonymous => Ok(Auth::new()),
            Self::Key(path) => Credentials::read(path).map_err(|error| chain(&error))?.sign(nonce),
            Self::File { user, path } => {
                Ok(with_password(user, read_password(path).map_err(|error| chain(&error))?))
            }
            Self::Url(UrlLogin::Password { user, password }) => Ok(with_password(user, password.clone())),
            Self::Url(UrlLogin::Token(token)) => {
                let mut auth = Auth::new();
                auth.token = Some(token.clone());
                Ok(auth)
            }
        }
    }

    /// What a server refuses if it refuses this login.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Anonymous => "a connection without a login",
            Self::Key(_) => "the key in bus.credentials_file",
            Self::File { .. } => "the password in bus.password_file",
            Self::Url(UrlLogin::Password { .. }) => "the user name and password in bus.url",
            Self::Url(UrlLogin::Token(_)) => "the token in bus.url",
        }
    }

    /// The setting with the login.
    pub(super) fn setting(&self) -> &'static str {
        match self {
            Self::Anonymous | Self::Url(_) => "bus.url",
            Self::Key(_) => "bus.credentials_file",
            Self::File { .. } => "bus.password_file",
        }
    }

    /// What a server has refused, and what to check.
    pub(super) fn refusal(&self) -> String {
        match self {
            Self::Anonymous => {
                "a connection without a login: set bus.credentials_file to the key file of the process's role, or set \
                 bus.user and bus.password_file if the server has passwords"
                    .to_owned()
            }
            Self::Key(file) => format!(
                "the key in {}: check that it is the key of the process's role, and that the server's keys.conf has its \
                 public key",
                file.display()
            ),
            Self::File { user, path } => format!(
                "the password of the user `{user}`: check bus.user, and the password in {}",
                path.display()
            ),
            Self::Url(UrlLogin::Password { user, .. }) => format!(
                "the password of the user `{user}`: check both, and that special characters are percent-encoded (such as \
                 %25 for %)"
            ),
            Self::Url(UrlLogin::Token(_)) => {
                "the token: check it; if it is a user name, add the password (nats://USER:PASSWORD@host)".to_owned()
            }
        }
    }
}

/// The password in a file, without line breaks at the end.
fn read_password(path: &Path) -> Result<String, LoginError> {
    let name = || path.display().to_string();
    let not_password = |fault| Err(LoginError::NotPassword { path: name(), fault });
    let mut bytes = Vec::new();
    // Blocking is fine: this reads a few bytes, once at the start and once for each reconnection.
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(MAX_PASSWORD_BYTES + 1).read_to_end(&mut bytes));
    let length = read.map_err(|source| LoginError::Unreadable { path: name(), source })?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_PASSWORD_BYTES) {
        return not_password("is too long to be a password");
    }
    let Ok(text) = String::from_utf8(bytes) else { return not_password("is not text") };
    match text.trim_end_matches(['\n', '\r']) {
        "" => not_password("is empty; write the password into it"),
        password if password.contains(['\n', '\r']) => not_password("has more than one line"),
        password => Ok(password.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, user: &str, key: &str, password: &Path) -> BusConfig {
        BusConfig {
            url: url.to_owned(),
            user: user.to_owned(),
            credentials_file: key.into(),
            password_file: password.to_owned(),
            ..BusConfig::default()
        }
    }

    #[test]
    fn a_process_has_one_login() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "p@ss w%\r\n").unwrap();
        let none = Path::new("");
        let (plain, with_user) = ("nats://host", "nats://me:x@host");
        for config in [
            config(plain, "", "", none),
            config("", "", "", none),
            config(with_user, "", "", none),
            config(plain, "me", "", &file),
        ] {
            check_login(&config).unwrap();
        }
        for (config, expected) in [
            (config(plain, "me", "", none), "bus.password_file: missing"),
            (config(plain, "", "", &file), "bus.user: missing"),
            (config(plain, "me", "key", &file), "bus.credentials_file and bus.user"),
            (config(plain, "", "key", &file), "bus.credentials_file and bus.password_file"),
            (config(with_user, "", "key", none), "bus.credentials_file and the user name in bus.url"),
            (config(with_user, "me", "", &file), "bus.user and the user name in bus.url"),
            (config(plain, "me", "", &folder.path().join("other")), "bus.password_file: cannot read"),
            (config(plain, "", "/nowhere/at.all", none), "bus.credentials_file: cannot read"),
        ] {
            let message = check_login(&config).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        let login = Login::find(&config(plain, "me", "", &file), None).unwrap();
        let auth = login.respond(b"").unwrap();
        assert_eq!((auth.username.as_deref(), auth.password.as_deref()), (Some("me"), Some("p@ss w%")));
        // The file is read again for each connection.
        std::fs::write(&file, "new").unwrap();
        assert_eq!(login.respond(b"").unwrap().password.as_deref(), Some("new"));
    }

    #[test]
    fn a_file_without_a_password_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let long = "secret".repeat(1_000);
        for content in ["", "\n", "secret\nsecret\n", &long] {
            std::fs::write(&file, content).unwrap();
            let message = read_password(&file).unwrap_err().to_string();
            assert!(message.contains("password ") && !message.contains("secret"), "{message}");
        }
        std::fs::write(&file, [0xFF]).unwrap();
        assert!(read_password(&file).unwrap_err().to_string().contains("is not text"));
    }
}
