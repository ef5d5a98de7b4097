//! What was probably meant by a command line that cannot be parsed.

use std::ffi::OsString;

use clap::{
    Error,
    builder::StyledStr,
    error::{ContextKind, ContextValue},
};
use common::domain::Pair;

/// Commands of other servers, and what they are called here. The most similar name would be another command.
const COMMANDS: [(&[&str], &[&str]); 2] =
    [(&["serve", "server", "start", "up", "daemon"], &["run", "api"]), (&["demo"], &["run --demo"])];

/// Adds what was probably meant, if clap does not find it.
pub(super) fn explained(mut error: Error) -> Error {
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) {
        let known = COMMANDS.iter().find(|(words, _)| words.contains(&word.as_str()));
        let meant = known.map(|(_, meant)| meant.iter().map(|name| (*name).to_owned()).collect());
        if let Some(meant) = meant {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(meant));
        }
    }
    if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && let Ok(pair) = argument.parse::<Pair>()
        && let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage)
        && usage.to_string().contains("--pair ")
    {
        let tip = vec![StyledStr::from(format!("use `--pair {pair}`"))];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tip));
    }
    error
}

/// The flag that was given both before and after the command, if there is one: clap ignores the first ones then.
/// `overrides` is the number of `--set` flags that clap has read.
pub(super) fn split_flag(given: &[OsString], overrides: usize) -> Option<&'static str> {
    let count = |flag: &str| {
        let is_flag =
            |text: &str| text.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
        given.iter().filter(|argument| argument.to_str().is_some_and(is_flag)).count()
    };
    [("--set", overrides), ("--config", 1)]
        .into_iter()
        .find(|(flag, read)| count(flag) > *read)
        .map(|(flag, _)| flag)
}

#[cfg(test)]
mod tests {
    use super::{super::command, *};

    fn message(arguments: &[&str]) -> String {
        let mut command = command();
        let error = command.try_get_matches_from_mut([&["tickwell"], arguments].concat()).unwrap_err();
        explained(error).format(&mut command).to_string()
    }

    #[test]
    fn commands_of_other_servers_have_suggestions() {
        let serve = message(&["serve"]);
        assert!(serve.contains("'run'") && serve.contains("'api'") && !serve.contains("restore"), "{serve}");
        assert!(message(&["demo"]).contains("'run --demo'"));
        assert!(message(&["exprt"]).contains("'export'"));
        assert!(!message(&["zzz"]).contains("tip"));
    }

    #[test]
    fn a_pair_without_its_flag_gets_the_flag() {
        let export = message(&["export", "btc-usd"]);
        assert!(export.contains("use `--pair BTC-USD`"), "{export}");
        assert!(!message(&["export", "zzz"]).contains("use `--pair"));
        assert!(!message(&["config", "show", "BTC-USD"]).contains("--pair"));
    }
}
