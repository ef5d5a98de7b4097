//! What requests say about who sends them.

use std::{fmt, str::FromStr};

/// The longest contact.
const MAX_LENGTH: usize = 200;

/// The URL or mail address under which the operator can be reached. Empty if none is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contact(String);

/// The text cannot be part of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "sources.contact: must be a URL or a mail address of at most {MAX_LENGTH} characters, without spaces"
)]
pub struct ContactError;

impl Contact {
    /// The value of the `User-Agent` header.
    pub(super) fn user_agent(&self) -> String {
        let name = concat!("tickwell/", env!("CARGO_PKG_VERSION"));
        if self.0.is_empty() { name.to_owned() } else { format!("{name} (+{self})") }
    }
}

impl FromStr for Contact {
    type Err = ContactError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_valid = text.len() <= MAX_LENGTH
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'\\'));
        if is_valid { Ok(Self(text.to_owned())) } else { Err(ContactError) }
    }
}

impl fmt::Display for Contact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_stands_in_the_user_agent() {
        let contact: Contact = "https://prices.example/about".parse().unwrap();
        assert!(contact.user_agent().ends_with(" (+https://prices.example/about)"));
        assert!(!Contact::default().user_agent().contains('('));
        for invalid in ["two words", "a(b)", "ä@example.org", "a\r\nb", &"a".repeat(201)] {
            assert_eq!(invalid.parse::<Contact>(), Err(ContactError), "{invalid}");
        }
    }
}
