//! Closed sets of words: an enum whose variants each have one spelling, used as JSON value, metric label
//! and log field alike.

/// An enum whose variants each have exactly one spelling.
pub trait Words: Sized + Copy + 'static {
    /// Every variant, so that metric labels can be initialised and documents held against the code.
    const ALL: &'static [Self];
    /// The variant's spelling.
    fn as_str(self) -> &'static str;
}

/// A word that is not in its set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a known {what} (known: {known}){}", suggestion(known.split(", "), word))]
pub struct UnknownWord {
    /// The set that was searched, for the message.
    pub what: &'static str,
    /// What was given.
    pub word: String,
    /// What could have been given.
    pub known: String,
}

/// How alike two words must be for one to be offered for the other, from 0 to 1.
const LIKENESS: f64 = 0.7;

/// The known word that somebody most likely meant by an unknown one.
pub fn nearest<'a>(known: impl IntoIterator<Item = &'a str>, word: &str) -> Option<&'a str> {
    let word = word.to_lowercase();
    let likeness = |known: &'a str| (known, strsim::jaro_winkler(known, &word));
    let all = known.into_iter().map(likeness);
    all.max_by(|one, other| one.1.total_cmp(&other.1))
        .filter(|(_, likeness)| *likeness >= LIKENESS)
        .map(|it| it.0)
}

/// The end of a sentence that says what somebody most likely meant, where anything comes near.
fn suggestion<'a>(known: impl IntoIterator<Item = &'a str>, word: &str) -> String {
    nearest(known, word).map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

/// Defines a closed set of words: the enum, [`Words`], `Display` and `FromStr`.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident ($what:literal) { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $crate::domain::Words for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str($crate::domain::Words::as_str(*self))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::UnknownWord;
            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::domain::UnknownWord {
                        what: $what,
                        word: word.to_owned(),
                        known: [$($word),+].join(", "),
                    }),
                }
            }
        }
    };
}
