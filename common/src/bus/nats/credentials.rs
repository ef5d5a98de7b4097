//! A process authenticates with an nkey: it signs the server's challenge with the key, and the key never leaves the
//! process.
//!
//! The credentials file contains either the bare seed of the key, as written by `tickwell log keys`, or a seed and a JWT
//! (a NATS `.creds` file). Error messages never contain anything from the file.

use std::{io::Read, path::Path};

use async_nats::Auth;
use nkeys::{KeyPair, KeyPairType};

/// The largest number of bytes that is read, much more than a credentials file has. A large file that is named by
/// mistake is not read to its end.
const MAX_BYTES: u64 = 64 * 1024;

/// The content of a credentials file.
pub(super) struct Credentials {
    key: KeyPair,
    jwt: Option<String>,
}

/// Why a credentials file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file does not exist or cannot be read.
    #[error("bus.credentials_file: cannot read {path}")]
    Unreadable {
        /// The path of the file.
        path: String,
        /// The underlying error.
        #[source]
        source: std::io::Error,
    },
    /// The file does not contain valid credentials.
    #[error("bus.credentials_file: {path} {fault}")]
    Invalid {
        /// The path of the file.
        path: String,
        /// What is wrong with its content.
        fault: CredentialsFault,
    },
}

/// Why a file is not a valid credentials file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsFault {
    /// The file is empty.
    #[error("is empty")]
    Empty,
    /// The file contains a public key instead of a seed.
    #[error("contains a public key (U…); use the file with its seed (SU…)")]
    Public,
    /// The file contains the seed of an account, an operator or a server.
    #[error(
        "contains the seed of an account, an operator or a server; use the seed of a user, which begins with SU"
    )]
    NotUser,
    /// The file contains anything else, or a damaged seed.
    #[error(
        "does not contain a valid seed of a user (SU…); use a file written by `tickwell log keys`, or a .creds file"
    )]
    NoSeed,
}

/// A newly generated key of a user.
pub struct UserKey(KeyPair);

/// The library returned no seed for a new key. This should never happen.
#[derive(Debug, thiserror::Error)]
#[error("cannot generate a key")]
pub struct KeyError;

impl Credentials {
    pub(super) fn read(path: &Path) -> Result<Self, CredentialsError> {
        let name = || path.display().to_string();
        let mut text = Vec::new();
        // Blocking is fine: this reads a few hundred bytes, once at the start and once for each reconnection.
        let file = std::fs::File::open(path);
        let read = file.and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
        read.map_err(|source| CredentialsError::Unreadable { path: name(), source })?;
        let text = String::from_utf8(text).unwrap_or_default();
        Self::parse(&text).map_err(|fault| CredentialsError::Invalid { path: name(), fault })
    }

    fn parse(text: &str) -> Result<Self, CredentialsFault> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        let (mut seed, mut jwt) = (None, None);
        let first = *lines.peek().ok_or(CredentialsFault::Empty)?;
        while let Some(line) = lines.next() {
            match line.trim_matches('-') {
                "BEGIN NATS USER JWT" => jwt = lines.next(),
                "BEGIN USER NKEY SEED" => seed = lines.next(),
                _ => {}
            }
        }
        let seed = seed.unwrap_or(first);
        if nkeys::from_public_key(seed).is_ok() {
            return Err(CredentialsFault::Public);
        }
        let key = KeyPair::from_seed(seed).map_err(|_| CredentialsFault::NoSeed)?;
        if key.key_pair_type() != KeyPairType::User {
            return Err(CredentialsFault::NotUser);
        }
        Ok(Self { key, jwt: jwt.map(str::to_owned) })
    }

    /// Signs a server's challenge.
    pub(super) fn sign(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        auth.signature = Some(self.key.sign(nonce).map_err(|error| error.to_string())?);
        // A JWT already contains the public key.
        auth.nkey = self.jwt.is_none().then(|| self.key.public_key());
        auth.jwt = self.jwt.clone();
        Ok(auth)
    }
}

impl UserKey {
    /// Generates a key.
    pub fn generate() -> Self {
        Self(KeyPair::new_user())
    }

    /// The public half, which is added to the server's configuration.
    pub fn public(&self) -> String {
        self.0.public_key()
    }

    /// The secret half.
    pub fn seed(&self) -> Result<String, KeyError> {
        self.0.seed().map_err(|_| KeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(String, Option<String>), CredentialsFault> {
        Credentials::parse(text).map(|found| (found.key.public_key(), found.jwt))
    }

    #[test]
    fn a_bare_seed_and_a_creds_file_are_read() {
        let key = UserKey::generate();
        let (public, seed) = (key.public(), key.seed().unwrap());
        assert_eq!(parsed(&seed), Ok((public.clone(), None)));
        assert_eq!(parsed(&format!("\n {seed} \r\n")), Ok((public.clone(), None)));
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.c2ln\n------END NATS USER JWT------\n\n\
             *** IMPORTANT ***\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        assert_eq!(parsed(&creds), Ok((public, Some("eyJ0.eyJq.c2ln".to_owned()))));
    }

    #[test]
    fn a_fault_is_classified() {
        let key = UserKey::generate();
        let seed = key.seed().unwrap();
        let damaged = format!("{}{}", &seed[..20], seed[21..].to_ascii_lowercase());
        let account = KeyPair::new_account().seed().unwrap();
        for (text, fault) in [
            (" \n", CredentialsFault::Empty),
            (key.public().as_str(), CredentialsFault::Public),
            (&account, CredentialsFault::NotUser),
            (&damaged, CredentialsFault::NoSeed),
            (&seed[..seed.len() - 1], CredentialsFault::NoSeed),
            ("-----BEGIN USER NKEY SEED-----", CredentialsFault::NoSeed),
        ] {
            assert_eq!(parsed(text).unwrap_err(), fault, "{text}");
        }
    }
}
