//! The architecture as a check: which way dependencies point, and who may know which library.
//!
//! Three kinds of rules, each a table: between crates, between the modules of a crate, and which files may
//! name a library. The tests at the end hold the real tree against them, and invented trees against the
//! check itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Which of our crates a crate may depend on; tests and build scripts are free.
const CRATES: [(&str, &[&str]); 6] = [
    ("common", &[]),
    ("poller", &["common"]),
    ("ledger", &["common"]),
    ("api", &["common", "ledger"]),
    ("cli", &["common", "poller", "ledger", "api"]),
    ("testkit", &[]),
];

/// The modules of a crate in the order of the data: each may use those before it, none after it.
const MODULES: [(&str, &[&str]); 4] = [
    ("common", &["domain", "text", "object", "clock", "wire", "telemetry", "readiness", "bus", "service"]),
    ("poller", &["source", "aggregate", "config", "metrics", "lead", "publish", "poll"]),
    (
        "ledger",
        &[
            "config",
            "number",
            "summary",
            "window",
            "position",
            "store",
            "local_log",
            "candle",
            "events",
            "sample",
            "snapshot",
            "averages",
            "rate",
            "sources",
            "metrics",
            "ingest",
        ],
    ),
    ("api", &["config", "html", "lines", "stream_end", "metrics", "problem", "dto", "routes", "server"]),
];

/// Libraries that only one place may know. A path without an ending names a module with all below it.
const LIBRARIES: [(&str, &[&str]); 8] = [
    ("async_nats", &["common/src/bus/nats"]),
    ("nkeys", &["common/src/bus/nats"]),
    ("sled", &["ledger/src/store"]),
    ("reqwest", &["poller/src/source", "cli/src/pod"]),
    ("poem", &["api/src/routes", "api/src/server", "api/src/problem", "api/src/dto"]),
    ("poem_openapi", &["api/src/routes", "api/src/server", "api/src/problem", "api/src/dto"]),
    ("hyper", &["api/src/server"]),
    ("tracing_subscriber", &["common/src/telemetry"]),
];

/// One file that breaks a rule, and which.
#[derive(Debug, PartialEq, Eq)]
struct Violation(String);

/// A source file or manifest: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

fn check(sources: &[Source]) -> Vec<Violation> {
    let rules = [crates, modules, libraries];
    sources.iter().flat_map(|source| rules.iter().flat_map(move |rule| rule(source))).collect()
}

/// Our crates among the `[dependencies]` of a manifest.
fn crates(source: &Source) -> Vec<Violation> {
    let Some(name) = source.path.strip_suffix("/Cargo.toml") else { return Vec::new() };
    let Some((_, allowed)) = CRATES.iter().find(|(known, _)| *known == name) else { return Vec::new() };
    let dependencies =
        source.text.split("\n[").find(|section| section.starts_with("dependencies]")).unwrap_or("");
    let named = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or("").to_owned();
    let ours = dependencies.lines().map(named).filter(|name| CRATES.iter().any(|(known, _)| known == name));
    ours.filter(|dependency| !allowed.contains(&dependency.as_str()))
        .map(|dependency| Violation(format!("{name} must not depend on {dependency}")))
        .collect()
}

/// `crate::…` paths that point to a later module.
fn modules(source: &Source) -> Vec<Violation> {
    let rule = MODULES.iter().find_map(|(name, order)| {
        let rest = source.path.strip_prefix(&format!("{name}/src/"))?;
        let module = rest.split(['/', '.']).next()?;
        Some((order, order.iter().position(|known| *known == module)?))
    });
    let Some((order, own)) = rule else { return Vec::new() };
    let code: String = code(&source.text).collect::<Vec<_>>().join("\n");
    let used = code.match_indices("crate::").flat_map(|(at, path)| first_names(&code[at + path.len()..]));
    let later =
        used.filter_map(|name| order.iter().position(|known| *known == name).filter(|used| *used > own));
    later.map(|used| Violation(format!("{} must not use crate::{}", source.path, order[used]))).collect()
}

/// What follows `crate::`: one name, or those of a group in braces.
fn first_names(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![identifier(rest)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(identifier(&group[start..at]));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn libraries(source: &Source) -> Vec<Violation> {
    let of_product = source.path.split_once("/src/").is_some_and(|(name, _)| name != "testkit");
    if !of_product {
        return Vec::new();
    }
    let belongs = |home: &str| {
        source.path.strip_prefix(home).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    };
    let foreign = LIBRARIES.iter().filter(|(_, homes)| !homes.iter().any(|home| belongs(home)));
    foreign
        .filter(|(library, _)| code(&source.text).any(|line| names(line, library)))
        .map(|(library, _)| Violation(format!("{} must not know {library}", source.path)))
        .collect()
}

/// Whether a line has `library::` as a path of its own, and not as the end of another name or path.
fn names(line: &str, library: &str) -> bool {
    line.match_indices(&format!("{library}::")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    })
}

/// The lines that are compiled into the product: no comments, nothing from the tests on.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// Every manifest and product source of the workspace.
fn workspace(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    for (name, _) in CRATES {
        let manifest = root.join(name).join("Cargo.toml");
        found.push(manifest);
        collect(&root.join(name).join("src"), &mut found);
    }
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a readable source file");
        let path = path.strip_prefix(root).expect("below the root").display().to_string();
        Source { path, text }
    };
    found.into_iter().map(source).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            found.push(path);
        }
    }
}

mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_its_rules() {
        let sources = workspace(&crate::workspace_root());
        assert!(sources.len() > 50, "found only {} files", sources.len());
        assert_eq!(check(&sources), []);
    }

    #[test]
    fn every_module_has_a_place_in_the_order() {
        let root = crate::workspace_root();
        for (name, order) in MODULES {
            let library = fs::read_to_string(root.join(name).join("src/lib.rs")).unwrap();
            let declared =
                library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
            for module in declared {
                assert!(
                    order.contains(&module),
                    "{name}::{module} has no place in testkit::architecture::MODULES"
                );
            }
        }
    }

    fn broken(path: &str, text: &str) -> Vec<String> {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        check(&[source]).into_iter().map(|violation| violation.0).collect()
    }

    #[test]
    fn a_crate_that_points_the_wrong_way_is_found() {
        let manifest = "[package]\nname = \"poller\"\n\n[dependencies]\nbytes.workspace = true\napi.workspace = true\n\
                        testkit = { path = \"../testkit\" }\n\n[dev-dependencies]\ncli.workspace = true\n";
        let found = broken("poller/Cargo.toml", manifest);
        assert_eq!(found, ["poller must not depend on api", "poller must not depend on testkit"]);
    }

    #[test]
    fn a_module_that_points_the_wrong_way_is_found() {
        let text = "// crate::server is fine here\nuse crate::{\n    x,\n};\nuse crate::html::X;\nlet y = crate::routes::Y;";
        assert_eq!(
            broken("api/src/problem/advice.rs", text),
            ["api/src/problem/advice.rs must not use crate::routes"]
        );
        assert!(broken("api/src/problem.rs", "#[cfg(test)]\nuse crate::routes::Y;").is_empty());
    }

    #[test]
    fn a_library_out_of_its_place_is_found() {
        assert_eq!(
            broken("ledger/src/ingest.rs", "let a: sled::Db;"),
            ["ledger/src/ingest.rs must not know sled"]
        );
        assert_eq!(
            broken("poller/src/poll.rs", "use reqwest::Url;"),
            ["poller/src/poll.rs must not know reqwest"]
        );
        assert!(broken("ledger/src/store/open.rs", "use sled::Db;").is_empty());
        assert!(broken("cli/src/compose.rs", "use crate::config::X; poller::config::Y").is_empty());
        assert_eq!(
            broken("common/src/busy.rs", "async_nats::connect"),
            ["common/src/busy.rs must not know async_nats"]
        );
    }
}
