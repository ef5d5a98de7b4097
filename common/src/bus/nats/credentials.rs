//! What a process is let in with: an nkey, which signs the server's challenge and never leaves the process.
//!
//! A file holds the bare seed of the key, as `tickwell log keys` writes it, or a `.creds` file, which has a JWT
//! beside it. No error repeats a word of what is in it.

use std::{io::Read, path::Path};

use async_nats::Auth;
use nkeys::{KeyPair, KeyPairType};

use crate::bus::BusConfigError;

/// Much longer than any such file; whatever is named by mistake is not read to its end.
const MAX_BYTES: u64 = 64 * 1024;

/// What a file with credentials holds.
pub struct Credentials {
    key: KeyPair,
    jwt: Option<String>,
}

/// Why a file is none with credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsFault {
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
    /// The half that servers are told.
    #[error("holds a public key (U…): name the file with its seed (SU…)")]
    Public,
    /// The key of an account, an operator or a server.
    #[error("holds the seed of another kind of key; a user's begins with SU")]
    NotUser,
    /// Anything else, or a seed with a wrong letter.
    #[error("holds no whole seed of a user's nkey (SU…), bare or in a .creds file")]
    NoSeed,
}

/// A new key of a user.
pub struct UserKey(KeyPair);

/// A new key has no seed. Every one has, as far as is known.
#[derive(Debug, thiserror::Error)]
#[error("no key could be made")]
pub struct KeyError;

impl Credentials {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, BusConfigError> {
        let name = || path.display().to_string();
        let mut text = Vec::new();
        // A few hundred bytes, at the start and when a connection was lost: not worth another thread.
        let file = std::fs::File::open(path);
        let read = file.and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
        read.map_err(|source| BusConfigError::Credentials { path: name(), source })?;
        let text = String::from_utf8(text).unwrap_or_default();
        Self::parse(&text).map_err(|fault| BusConfigError::CredentialsFault { path: name(), fault })
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

    /// The answer to a server's challenge.
    pub(super) fn answer(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        auth.signature = Some(self.key.sign(nonce).map_err(|error| error.to_string())?);
        // A JWT says whose key it is.
        auth.nkey = self.jwt.is_none().then(|| self.key.public_key());
        auth.jwt = self.jwt.clone();
        Ok(auth)
    }
}

impl UserKey {
    /// Makes a key.
    pub fn generate() -> Self {
        Self(KeyPair::new_user())
    }

    /// The half that servers are told.
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
    fn what_is_wrong_is_named_and_never_repeated() {
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
