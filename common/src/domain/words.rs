//! Enums whose variants have exactly one spelling, which is used as JSON value, metric label and log field.

/// An enum whose variants each have exactly one spelling.
pub trait Words: Sized + Copy + 'static {
    /// Every variant, to initialise metric labels and to check documents.
    const ALL: &'static [Self];
    /// The variant's spelling.
    fn as_str(self) -> &'static str;
}

/// The word is not the spelling of any variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a known {what} (known: {known}){}", suggestion(known.split(", "), word))]
pub struct UnknownWord {
    /// What kind of word was expected, such as `verdict`. It is used in the message.
    pub what: &'static str,
    /// The unknown word.
    pub word: String,
    /// The known words.
    pub known: String,
}

/// How similar two words must be for a suggestion, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.7;

/// The known word that is most similar to an unknown one, if any is similar enough.
pub fn nearest<'a>(known: impl IntoIterator<Item = &'a str>, word: &str) -> Option<&'a str> {
    let word = word.to_lowercase();
    let similarity = |known: &'a str| (known, strsim::jaro_winkler(known, &word));
    let all = known.into_iter().map(similarity);
    all.max_by(|one, other| one.1.total_cmp(&other.1))
        .filter(|(_, similarity)| *similarity >= MIN_SIMILARITY)
        .map(|it| it.0)
}

/// A suggestion as the end of a sentence; empty if no known word is similar enough.
fn suggestion<'a>(known: impl IntoIterator<Item = &'a str>, word: &str) -> String {
    nearest(known, word).map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

/// Defines an enum with one spelling per variant, and implements [`Words`], `Display` and `FromStr`.
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
