//! `docs/cli.md`: every command and flag, from clap's definitions.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command, Parser as _};

use super::code;
use crate::arguments::{self, Arguments};

const HEAD: &str = "\
# Command line

<!-- Generated from the definitions of the commands. Edit those, then run `just documents`. -->

`tickwell` is one binary. This page lists its commands; `tickwell COMMAND --help` prints the same text.
";

const EXIT_CODES: &str = "
## Exit codes

| code | meaning |
|---|---|
| 0 | Success. For a command that runs until it is stopped: it received SIGINT or SIGTERM and shut down cleanly. |
| 1 | Failure. The reason is on standard error. |
| 2 | The command line is not valid. `tickwell verify-pods` also exits with 2 if the pods could not be compared. |
";

const VARIABLES: &str = "
## Environment variables

| variable | meaning |
|---|---|
| `TICKWELL_CONFIG` | The settings file, like `--config`. |
| `TICKWELL__…` | Each of these variables sets one setting; see [configuration.md](configuration.md). |
| `TICKWELL_API_KEY` | The API key, for commands that accept `--key-file`. Not used if that flag is given. |
| `NO_COLOR` | If set and not empty, `tickwell watch` uses no colours. |
";

/// The text in front of the example in the help of a command.
const EXAMPLE: &str = "Example: ";

/// The whole page.
pub(super) fn markdown() -> String {
    let root = built();
    let all = leaves(&root);
    let mut page = HEAD.to_owned();
    page.push_str("\n| command | what it does |\n|---|---|\n");
    for command in &all {
        let name = name(command);
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "| [`{name}`](#{}) | {} |", name.replace(' ', "-"), prose(&about)).unwrap();
    }
    page.push_str("\nWithout a command, `tickwell` does the same as `tickwell run`.\n");
    page.push_str("\n## Options of every command\n");
    page.push_str(&table(root.get_arguments().filter(|argument| argument.is_global_set())));
    page.push_str(EXIT_CODES);
    page.push_str(VARIABLES);
    for command in all {
        page.push_str(&section(command));
    }
    page
}

fn built() -> Command {
    let mut root = arguments::command();
    root.build();
    root
}

/// The commands without subcommands, in the order of the help.
fn leaves(command: &Command) -> Vec<&Command> {
    if !command.has_subcommands() {
        return vec![command];
    }
    command.get_subcommands().filter(|child| child.get_name() != "help").flat_map(leaves).collect()
}

fn name(command: &Command) -> String {
    command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn section(command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let own = command.get_arguments().filter(|argument| {
        !argument.is_global_set() && !matches!(argument.get_id().as_str(), "help" | "version")
    });
    let example = example(command).unwrap_or_default();
    format!(
        "\n## `{}`\n\n{}\n\n```\n{usage}\n```\n{}\nExample:\n\n```sh\n{example}\n```\n",
        name(command),
        prose(&about),
        table(own)
    )
}

fn example(command: &Command) -> Option<String> {
    command.get_after_help()?.to_string().strip_prefix(EXAMPLE).map(str::to_owned)
}

/// A table of arguments, or an empty text if there are none.
fn table<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = arguments.map(row).collect();
    if rows.is_empty() { rows } else { format!("\n| argument | meaning |\n|---|---|\n{rows}") }
}

fn row(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = prose(&help);
    let values = argument.get_possible_values();
    if takes_value(argument) && !values.is_empty() {
        text.push_str(" Values:");
        for value in &values {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            write!(text, " `{}` ({help}),", value.get_name()).unwrap();
        }
        text.pop();
        text.push('.');
    }
    if let Some(default) = argument.get_default_values().first().filter(|_| takes_value(argument)) {
        write!(text, " Default: `{}`.", default.to_string_lossy()).unwrap();
    }
    if let Some(variable) = argument.get_env() {
        write!(text, " Environment variable: `{}`.", variable.to_string_lossy()).unwrap();
    }
    if argument.is_required_set() {
        text.push_str(" Required.");
    }
    format!("| `{}` | {text} |\n", spelling(argument))
}

fn spelling(argument: &Arg) -> String {
    let flag = argument.get_long().map(|long| format!("--{long}"));
    let value = takes_value(argument).then(|| {
        let names = argument.get_value_names().unwrap_or_default();
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    });
    let many =
        argument.is_positional() && argument.get_num_args().is_some_and(|range| range.max_values() > 1);
    let parts: Vec<String> = flag.into_iter().chain(value).collect();
    format!("{}{}", parts.join(" "), if many { "…" } else { "" })
}

fn takes_value(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
}

/// Help as Markdown. clap removes the full stop at the end of the first paragraph, so the full stop is added again.
fn prose(text: &str) -> String {
    let paragraphs = text.trim().split("\n\n").map(|paragraph| {
        let paragraph = code(paragraph).replace('|', "\\|");
        if paragraph.ends_with('.') { paragraph } else { format!("{paragraph}.") }
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

#[test]
fn each_command_has_a_description_and_an_example_that_is_valid() {
    let root = built();
    assert!(example(&root).is_some());
    for command in leaves(&root) {
        let name = name(command);
        assert!(command.get_about().is_some(), "{name}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name}: {}", argument.get_id());
        }
        let example = example(command).unwrap_or_else(|| panic!("{name} has no example"));
        assert!(example.starts_with(&name), "{name}: {example}");
        // The rest of the example is for the shell.
        let words = example.split(" > ").next().unwrap().split(' ');
        Arguments::try_parse_from(words).unwrap();
    }
}
