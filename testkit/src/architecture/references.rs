//! Finds out, from the text of the source files of a crate, which of them use which others.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;

/// How many re-exports are followed: more than any item has. Without a limit, a cycle of re-exports would never end.
const MAX_REEXPORTS: usize = 8;

/// A file uses something that another module of its crate defines. `from` and `to` are module paths that
/// begin with the crate's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) file: String,
    pub(super) from: String,
    pub(super) to: String,
}

impl Reference {
    /// The two sibling modules below the nearest common ancestor that contain the two files. `None` if one file is an
    /// ancestor of the other.
    pub(super) fn siblings(&self) -> Option<(String, String)> {
        let (from, to): (Vec<_>, Vec<_>) = (self.from.split("::").collect(), self.to.split("::").collect());
        let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
        let sibling = |path: &[&str]| Some(path.get(..=shared)?.join("::"));
        Some((sibling(&from)?, sibling(&to)?))
    }
}

/// All references between the files of each crate.
pub(super) fn references(sources: &[Source]) -> BTreeSet<Reference> {
    let files: Vec<_> = sources.iter().filter_map(|source| Some((source, module(&source.path)?))).collect();
    let codes: Vec<_> = files.iter().map(|(source, _)| code(&source.text)).collect();
    let names: Vec<Names<'_>> = codes.iter().map(|code| Names::of(code)).collect();
    let modules: Modules<'_> = files.iter().map(|(_, module)| module.clone()).zip(&names).collect();
    let mut found = BTreeSet::new();
    for ((source, from), names) in files.iter().zip(&names) {
        let targets = names.paths.iter().filter_map(|path| resolve(&modules, from, path, 0));
        found.extend(targets.map(|to| Reference { file: source.path.clone(), from: from.clone(), to }));
    }
    found
}

/// The module of a source file: `common::bus` for `common/src/bus.rs`. Each binary in `src/bin` is a crate of its own.
fn module(path: &str) -> Option<String> {
    let (name, rest) = path.strip_suffix(".rs")?.split_once("/src/")?;
    let parts = rest.strip_prefix("bin/").unwrap_or(rest).split('/');
    let inner = parts.filter(|part| !["lib", "main"].contains(part));
    Some([name].into_iter().chain(inner).collect::<Vec<_>>().join("::"))
}

/// The part of a file that is compiled into the product: no comments, and no items behind `#[cfg(test)]`.
pub(super) fn code(text: &str) -> String {
    let (mut code, mut in_test) = (String::new(), false);
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        in_test |= line.starts_with("#[cfg(test)]");
        if !in_test {
            code.push_str(line);
            code.push('\n');
        }
        in_test &= line.starts_with(' ') || !line.ends_with([';', '}']);
    }
    code
}

/// The paths that a file mentions, and the names that it imports with `use`, each with its path.
#[derive(Default)]
struct Names<'a> {
    paths: Vec<Vec<&'a str>>,
    imports: BTreeMap<&'a str, Vec<&'a str>>,
}

type Modules<'a> = BTreeMap<String, &'a Names<'a>>;

impl<'a> Names<'a> {
    fn of(code: &'a str) -> Self {
        let (tokens, mut names, mut at) = (tokens(code), Self::default(), 0);
        while let Some(token) = tokens.get(at) {
            if *token == "use" {
                at = names.tree(&tokens, at + 1, &[], true);
            } else if is_name(token) {
                at = names.tree(&tokens, at, &[], false);
            } else {
                at += 1;
            }
        }
        names
    }

    /// Adds the path that begins at a token, or all paths of a `use` tree. Returns the index of the token after them.
    fn tree(&mut self, tokens: &[&'a str], mut at: usize, prefix: &[&'a str], import: bool) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match tokens.get(at) {
                Some(&"{") => {
                    at += 1;
                    while tokens.get(at).is_some_and(|token| *token != "}") {
                        at = self.tree(tokens, at, &path, import);
                        at += usize::from(tokens.get(at) == Some(&","));
                    }
                    return at + 1;
                }
                Some(name) if is_name(name) && (*name != "self" || path.is_empty()) => path.push(name),
                _ => {}
            }
            at += 1;
            if tokens.get(at) != Some(&"::") {
                break;
            }
            at += 1;
        }
        let mut name = path.last().copied();
        if import && tokens.get(at) == Some(&"as") {
            name = tokens.get(at + 1).copied();
            at += 2;
        }
        if let Some(name) = name.filter(|_| import) {
            self.imports.insert(name, path.clone());
        }
        self.paths.push(path);
        at
    }
}

/// The module that defines what a path in the module `own` points to; `None` if that module is in another crate.
/// Re-exports are followed.
fn resolve(modules: &Modules<'_>, own: &str, path: &[&str], reexports: usize) -> Option<String> {
    let child = |parent: &str, name: &str| {
        Some(format!("{parent}::{name}")).filter(|module| modules.contains_key(module))
    };
    let supers = path.iter().take_while(|name| **name == "super").count();
    let (mut module, rest) = match path {
        ["crate", rest @ ..] => (own.split("::").next()?.to_owned(), rest),
        ["self", rest @ ..] => (own.to_owned(), rest),
        ["super", ..] => (own.rsplitn(supers + 1, "::").nth(supers)?.to_owned(), path.get(supers..)?),
        [name, rest @ ..] => (child(own, name)?, rest),
        [] => return None,
    };
    for name in rest {
        if let Some(inner) = child(&module, name) {
            module = inner;
            continue;
        }
        let import = modules.get(&module)?.imports.get(name).filter(|_| reexports < MAX_REEXPORTS);
        let origin = import.and_then(|import| resolve(modules, &module, import, reexports + 1));
        return Some(origin.unwrap_or(module));
    }
    Some(module)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Splits code into tokens: a name or number, `::`, or any other single character.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = match word {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            _ => word,
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}
