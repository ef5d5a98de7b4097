//! Checks the architecture: which way dependencies point, and which modules may use a library.
//!
//! The rules are the tables below. Which crate may use a library at all is in `deny.toml`, which cargo-deny checks. The
//! tests at the end apply the rules to the workspace, and to made-up files that break them.

mod references;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use references::{Reference, code, references};

/// Each of our crates, and which of our other crates it may depend on. Tests and build scripts may depend on any of
/// them.
const CRATES: [(&str, &[&str]); 6] = [
    ("common", &[]),
    ("poller", &["common"]),
    ("ledger", &["common"]),
    ("api", &["common", "ledger"]),
    ("cli", &["common", "poller", "ledger", "api"]),
    ("testkit", &[]),
];

const PRODUCT: &[&str] = &["common", "poller", "ledger", "api", "cli"];

/// The modules of a crate, in the order in which data flows. A module may only use modules that come before it.
const MODULES: [(&str, &[&str]); 4] = [
    (
        "common",
        &[
            "domain",
            "coins",
            "text",
            "object",
            "clock",
            "wire",
            "retry",
            "telemetry",
            "readiness",
            "metrics",
            "bus",
            "service",
        ],
    ),
    (
        "poller",
        &[
            "source",
            "aggregate",
            "config",
            "backfill",
            "metrics",
            "lead",
            "markets",
            "publish",
            "import",
            "poll",
        ],
    ),
    (
        "ledger",
        &[
            "config",
            "number",
            "derived",
            "summary",
            "window",
            "position",
            "store",
            "local_log",
            "candle",
            "events",
            "sample",
            "merged_gaps",
            "snapshot",
            "averages",
            "rate",
            "sources",
            "metrics",
            "ingest",
        ],
    ),
    (
        "api",
        &[
            "config",
            "html",
            "layers",
            "lines",
            "stream_end",
            "word",
            "problem",
            "work",
            "metrics",
            "freshness",
            "dto",
            "routes",
            "server",
        ],
    ),
];

/// Libraries that only some modules of a crate may use: the library, the crates in which the rule is checked, and the
/// modules that may use the library. Their submodules may use it too.
const LIBRARIES: [(&str, &[&str], &[&str]); 13] = [
    ("async_nats", &["common"], &["common/src/bus/nats"]),
    ("nkeys", &["common"], &["common/src/bus/nats"]),
    ("sled", &["ledger"], &["ledger/src/store"]),
    ("reqwest", &["poller", "cli"], &["poller/src/source", "cli/src/pod"]),
    (
        "poem",
        &["api"],
        &["api/src/layers", "api/src/routes", "api/src/server", "api/src/problem", "api/src/dto"],
    ),
    (
        "poem_openapi",
        &["api"],
        &["api/src/routes", "api/src/server", "api/src/problem", "api/src/dto", "api/src/word"],
    ),
    // deny.toml has no rules for these, because many libraries depend on them.
    ("hyper", PRODUCT, &["api/src/server"]),
    ("tracing_subscriber", PRODUCT, &["common/src/telemetry"]),
    ("tracing_opentelemetry", PRODUCT, &["common/src/telemetry"]),
    ("opentelemetry", PRODUCT, &["common/src/telemetry"]),
    ("opentelemetry_sdk", PRODUCT, &["common/src/telemetry"]),
    ("opentelemetry_otlp", PRODUCT, &["common/src/telemetry"]),
    ("opentelemetry_appender_tracing", PRODUCT, &["common/src/telemetry"]),
];

/// The end of each failure message, which says where the rules are.
const TABLES: &str = "in testkit/src/architecture.rs";

/// A source file or manifest: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

/// Returns a message for each violation of a rule.
fn check(sources: &[Source]) -> Vec<String> {
    let references = references(sources);
    let of_files = sources.iter().flat_map(|source| [crates(source), libraries(source)]).flatten();
    of_files.chain(modules(&references)).chain(cycles(&references)).collect()
}

/// A message for each dependency in a manifest on one of our crates that [`CRATES`] does not allow.
fn crates(source: &Source) -> Vec<String> {
    let Some(name) = source.path.strip_suffix("/Cargo.toml") else { return Vec::new() };
    let Some((_, allowed)) = CRATES.iter().find(|(known, _)| *known == name) else { return Vec::new() };
    let dependencies =
        source.text.split("\n[").find(|section| section.starts_with("dependencies]")).unwrap_or("");
    let named = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or("").to_owned();
    let ours = dependencies.lines().map(named).filter(|name| CRATES.iter().any(|(known, _)| known == name));
    ours.filter(|dependency| !allowed.contains(&dependency.as_str()))
        .map(|dependency| {
            let allowed = if allowed.is_empty() { "none of our crates" } else { &allowed.join(", ") };
            format!("{name} must not depend on {dependency}, only on {allowed}; see CRATES {TABLES}")
        })
        .collect()
}

/// A message for each reference to a module that comes later in [`MODULES`].
fn modules(references: &BTreeSet<Reference>) -> Vec<String> {
    let later = |reference: &Reference| {
        let (from, to) = reference.siblings()?;
        let ((name, from), (_, to)) = (from.split_once("::")?, to.split_once("::")?);
        let (_, order) = MODULES.iter().find(|(known, _)| *known == name)?;
        let place = |module: &str| order.iter().position(|known| *known == module);
        let (own, used) = (place(from)?, place(to)?);
        let (file, before) = (&reference.file, order.get(..own)?.join(", "));
        (used > own).then(|| {
            format!(
                "{file} must not use crate::{to}, only what is before {from}: {before}; see MODULES {TABLES}"
            )
        })
    };
    references.iter().filter_map(later).collect()
}

/// Modules with the same parent that use each other, directly or through others. A module and its own descendants may
/// use each other.
fn cycles(references: &BTreeSet<Reference>) -> Vec<String> {
    let mut graph: BTreeMap<String, BTreeMap<String, &str>> = BTreeMap::new();
    for reference in references {
        if let Some((from, to)) = reference.siblings() {
            graph.entry(from).or_default().insert(to, &reference.file);
        }
    }
    let mut found = Vec::new();
    for (from, used) in &graph {
        for (to, file) in used {
            if reaches(&graph, to, from) {
                found.push(format!(
                    "{file} uses {to}, which uses {from}: an import cycle. Move what both need into a module \
                     that uses neither, or pass it in"
                ));
            }
        }
    }
    found
}

fn reaches(graph: &BTreeMap<String, BTreeMap<String, &str>>, from: &str, to: &str) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        if module == to {
            return true;
        }
        if seen.insert(module) {
            open.extend(graph.get(module).into_iter().flat_map(BTreeMap::keys).map(String::as_str));
        }
    }
    false
}

fn libraries(source: &Source) -> Vec<String> {
    let Some((name, _)) = source.path.split_once("/src/") else { return Vec::new() };
    let belongs = |home: &str| {
        source.path.strip_prefix(home).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    };
    let code = code(&source.text);
    LIBRARIES
        .iter()
        .filter(|(_, crates, homes)| crates.contains(&name) && !homes.iter().any(|home| belongs(home)))
        .filter(|(library, ..)| code.lines().any(|line| names(line, library)))
        .map(|(library, _, homes)| {
            let (path, homes) = (&source.path, homes.join(", "));
            format!("{path} must not use {library}, only {homes} may; see LIBRARIES {TABLES}")
        })
        .collect()
}

/// Whether a line contains `library::` as the start of a path, and not as the end of another name or path.
fn names(line: &str, library: &str) -> bool {
    line.match_indices(&format!("{library}::")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    })
}

/// Every manifest and source file of our crates, the benchmarks included.
fn workspace(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    for name in CRATES.iter().map(|(name, _)| *name).chain(["bench"]) {
        found.push(root.join(name).join("Cargo.toml"));
        collect(&root.join(name).join("src"), &mut found);
    }
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a readable source file");
        let path = path.strip_prefix(root).expect("below the root").display().to_string();
        Source { path, text }
    };
    found.into_iter().map(source).collect()
}

/// The source files in a directory, without tests.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
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
        let found = check(&sources);
        assert!(found.is_empty(), "\n{}", found.join("\n"));
    }

    #[test]
    fn every_module_has_a_place_in_the_order() {
        let root = crate::workspace_root();
        for (name, order) in MODULES {
            let library = fs::read_to_string(root.join(name).join("src/lib.rs")).unwrap();
            let declared = library
                .lines()
                .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
            for module in declared {
                assert!(order.contains(&module), "{name}::{module} has no place in MODULES {TABLES}");
            }
        }
    }

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        let source = |(path, text): &(&str, &str)| Source { path: (*path).into(), text: (*text).into() };
        files.iter().map(source).collect()
    }

    /// The violations in these files. Each message is cut off at its first comma.
    fn broken(files: &[(&str, &str)]) -> Vec<String> {
        let first = |found: String| found.split(',').next().unwrap_or_default().to_owned();
        check(&sources(files)).into_iter().map(first).collect()
    }

    #[test]
    fn a_dependency_on_the_wrong_crate_is_found() {
        let manifest = "[package]\nname = \"poller\"\n\n[dependencies]\nbytes.workspace = true\napi.workspace = true\n\
                        testkit = { path = \"../testkit\" }\n\n[dev-dependencies]\ncli.workspace = true\n";
        let found = broken(&[("poller/Cargo.toml", manifest)]);
        assert_eq!(found, ["poller must not depend on api", "poller must not depend on testkit"]);
    }

    #[test]
    fn the_use_of_a_later_module_is_found() {
        let later = ("api/src/routes.rs", "");
        for text in [
            "// crate::server is fine here\nuse crate::{\n    x,\n    routes::{self, Y},\n};",
            "let y = crate::routes::Y;",
            "use super::super::routes::Y;",
            "#[cfg(test)]\nmod tests;\nuse crate::routes;",
        ] {
            let found = broken(&[("api/src/problem/code.rs", text), later, ("api/src/problem.rs", "")]);
            assert_eq!(found, ["api/src/problem/code.rs must not use crate::routes"], "{text}");
        }
        for text in
            ["#[cfg(test)]\nuse crate::routes::Y;", "use crate::config; routes();", "use x::routes::Y;"]
        {
            assert!(broken(&[("api/src/problem.rs", text), later]).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_library_that_is_used_in_the_wrong_module_is_found() {
        for (path, text, library) in [
            ("ledger/src/ingest.rs", "let a: sled::Db;", "sled"),
            ("poller/src/poll.rs", "use reqwest::Url;", "reqwest"),
            ("common/src/busy.rs", "async_nats::connect", "async_nats"),
            ("poller/src/poll.rs", "use hyper::body;", "hyper"),
        ] {
            assert_eq!(broken(&[(path, text)]), [format!("{path} must not use {library}")]);
        }
        assert!(broken(&[("ledger/src/store/open.rs", "use sled::Db;")]).is_empty());
        assert!(broken(&[("cli/src/compose.rs", "use crate::config::X; poller::config::Y")]).is_empty());
    }

    #[test]
    fn an_import_cycle_is_found() {
        let cycle = ["cli/src/a.rs uses cli::b", "cli/src/b.rs uses cli::a"];
        for (one, other) in [
            ("use crate::b::B;", "use super::a::A;"),
            ("fn f(b: crate::b::B) {}", "use super::{x, a::{self, A}};"),
            // `a` uses `b` through a name that the crate root exports.
            ("use crate::B;", "use crate::a::A as Other;"),
        ] {
            let root = ("cli/src/main.rs", "mod a;\nmod b;\npub use b::B;");
            assert_eq!(
                broken(&[("cli/src/a.rs", one), ("cli/src/b.rs", other), root]),
                cycle,
                "{one} {other}"
            );
        }
        let below = [
            ("bench/src/a.rs", "mod child;"),
            ("bench/src/a/child.rs", "use crate::c::C;"),
            ("bench/src/b.rs", "use crate::a;"),
            ("bench/src/c.rs", "use crate::b;"),
        ];
        assert_eq!(
            broken(&below),
            [
                "bench/src/a/child.rs uses bench::c",
                "bench/src/b.rs uses bench::a",
                "bench/src/c.rs uses bench::b"
            ]
        );
    }

    #[test]
    fn a_module_and_its_own_children_are_not_a_cycle() {
        let files = [
            ("cli/src/main.rs", "mod a;\nuse a::A;"),
            ("cli/src/a.rs", "mod child;\npub use self::child::C;"),
            ("cli/src/a/child.rs", "use super::A;\nuse crate::run;"),
            ("testkit/src/bin/b.rs", "use a::X;"),
        ];
        assert!(broken(&files).is_empty());
    }
}
