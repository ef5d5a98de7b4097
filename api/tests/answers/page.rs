//! The web page: how it is served, what it loads, and what it shows without scripts.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use api::config::{ApiConfig, RateLimit};
use common::domain::{Origin, Record};
use serde_json::json;

use crate::rig::{Answer, Rig, at, gap, gap_of, tick, tick_record};

/// The maximum size of the page and all its files together. Raised from 41,200 for the lines that are kept between
/// redraws, the page about feeds, the progress of a backfill, the reasons of failing sources, local times, the lines on
/// cards, and the changes of pairs that are not in the chart.
const MAX_BYTES: usize = 56_000;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The output of `printf %s foo | sha256sum`.
const KEY: &str = "one=2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("web")
}

/// The names and texts of the files of the page.
fn files() -> Vec<(String, String)> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
    };
    let files: Vec<(String, String)> = entries.map(file).collect();
    assert!(files.len() > 3, "{files:?}");
    files
}

/// Every text between one of the beginnings and its closing quote.
fn quoted<'a>(text: &'a str, beginnings: &[&str]) -> Vec<&'a str> {
    let after = |beginning: &&str| {
        let starts: Vec<usize> = text.match_indices(*beginning).map(|(at, found)| at + found.len()).collect();
        let quote = beginning.chars().last().unwrap();
        starts.into_iter().map(move |start| text[start..].split(quote).next().unwrap()).collect::<Vec<_>>()
    };
    beginnings.iter().flat_map(after).collect()
}

/// The URLs in the served page.
fn references(page: &str) -> Vec<&str> {
    quoted(page, &["src=\"", "href=\"", "src='", "href='"])
}

/// The directory that the page's files are in.
fn assets(page: &str) -> String {
    let script = references(page).into_iter().find(|reference| reference.ends_with("/app.js")).unwrap();
    format!("/{}", script.strip_suffix("/app.js").unwrap())
}

/// What the page shows without scripts.
fn plain(page: &str) -> &str {
    page.split_once("<noscript>").unwrap().1.split_once("</noscript>").unwrap().0
}

/// The cells of each row of the table.
fn rows(page: &str) -> Vec<Vec<String>> {
    let rows = plain(page).split("<tr>").skip(2);
    let cell = |part: &str| {
        let text = part.split_once('>').unwrap().1.split_once('<').unwrap().0;
        text.to_owned()
    };
    rows.map(|row| row.split("<t").skip(1).map(cell).collect()).collect()
}

#[tokio::test]
async fn the_page_is_at_the_root() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100"), tick("ETH-USD", 10, "5")]).await;
    rig.clock.set(at(12));
    let page = rig.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.headers("content-security-policy"), [POLICY]);
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert!(!page.text.contains("{{"), "a placeholder is left: {}", page.text);
    // The page is cached as long as the prices that it shows.
    let prices = rig.get("/v1/prices").await;
    for name in ["cache-control", "x-tickwell-sequence", "vary"] {
        assert_eq!(page.header(name), prices.header(name), "{name}");
    }
    assert_eq!(page.header("cache-control"), Some("public, max-age=8, must-revalidate"));
    let tag = page.header("etag").unwrap();
    assert_eq!(rig.ask("/", &[("if-none-match", tag)]).await.status, 304);
    assert_eq!(rig.ask("/?range=1d", &[("if-none-match", tag)]).await.status, 304);
    let head = rig.client().head("/").send().await;
    head.assert_status_is_ok();
    head.assert_header("etag", tag);
    rig.client().post("/").send().await.assert_status(poem::http::StatusCode::METHOD_NOT_ALLOWED);
    rig.send(vec![tick("BTC-USD", 20, "101")]).await;
    assert_eq!(rig.ask("/", &[("if-none-match", tag)]).await.status, 200);
}

#[tokio::test]
async fn each_file_of_a_build_is_cached_forever() {
    let rig = Rig::new();
    let page = rig.get("/").await;
    let folder = assets(&page.text);
    for (name, text) in files().into_iter().filter(|(name, _)| name != "index.html") {
        let path = format!("{folder}/{name}");
        let file = rig.get(&path).await;
        let content_type = match name.rsplit('.').next().unwrap() {
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            other => panic!("unexpected extension .{other}"),
        };
        assert_eq!((file.status, file.header("content-type")), (200, Some(content_type)), "{path}");
        assert_eq!(file.text, text, "{path}");
        assert_eq!(file.headers("cache-control"), ["public, max-age=31536000, immutable"], "{path}");
        let known = file.header("etag").unwrap();
        let same = rig.ask(&path, &[("if-none-match", known)]).await;
        assert_eq!(
            (same.status, same.header("cache-control")),
            (304, file.header("cache-control")),
            "{path}"
        );
        rig.client().head(&path).send().await.assert_header("etag", known);
        let packed = rig.ask(&path, &[("accept-encoding", "gzip")]).await;
        let coding = (text.len() >= 1_024).then_some("gzip");
        assert_eq!(packed.header("content-encoding"), coding, "{path}");

        // During a rolling upgrade, the page may come from a pod of another build.
        let of_another = rig.get(&format!("/web/0123456789abcdef/{name}")).await;
        assert_eq!((of_another.status, &of_another.text), (200, &text), "{name}");
        assert_eq!(of_another.header("content-type"), Some(content_type), "{name}");
        assert_eq!(of_another.headers("cache-control"), ["no-store"], "{name}");
    }
    let icon = rig.get("/favicon.ico").await;
    assert_eq!((icon.status, icon.header("content-type")), (200, Some("image/svg+xml")));
    assert_eq!(icon.header("cache-control"), Some("no-cache"), "its name does not change with its content");
}

#[tokio::test]
async fn other_paths_below_the_files_are_not_found() {
    let rig = Rig::new();
    let folder = assets(&rig.get("/").await.text);
    for path in [
        format!("{folder}/nothing.js"),
        format!("{folder}/index.html"),
        format!("{folder}/../src/lib.rs"),
        format!("{folder}/%2e%2e%2fCargo.toml"),
        format!("{folder}/"),
        folder,
        "/web".to_owned(),
        "/web/app.js".to_owned(),
    ] {
        let answer = rig.get(&path).await;
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[tokio::test]
async fn the_page_is_small_and_needs_no_other_host() {
    let files = files();
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
    assert!(bytes <= MAX_BYTES, "{bytes} bytes, but the page must stay below {MAX_BYTES}");
    for (name, text) in &files {
        let text = text.replace("http://www.w3.org/2000/svg", "");
        for foreign in ["://", "\"//", "'//", "`//", "(//", "=//"] {
            assert!(!text.contains(foreign), "{foreign} in {name}");
        }
        // Behind a proxy that removes a prefix of the path, an address that begins with a slash is not the pod's.
        for rooted in ["=\"/", "\"/v1", "`/v1", "'/v1"] {
            assert!(!text.contains(rooted), "{rooted} in {name}");
        }
        let modules = quoted(&text, &["from \"", "from '", "import \"", "import '", "import(\"", "import('"]);
        for module in modules {
            let known = module.strip_prefix("./").is_some_and(|module| names.contains(module));
            assert!(known, "{name} imports {module}, which is not a ./file next to it");
        }
        let loads =
            ["@import", "url("].into_iter().find(|load| name.ends_with(".css") && text.contains(load));
        assert_eq!(loads, None, "this test does not check what {name} loads");
    }
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "100")]).await;
    let page = rig.get("/").await;
    for reference in references(&page.text).into_iter().filter(|reference| !reference.starts_with('#')) {
        // The body is not read, because one of these may be a stream, which does not end.
        let answer = rig.client().get(format!("/{reference}")).send().await;
        assert_eq!(answer.0.status().as_u16(), 200, "{reference}");
    }
}

#[tokio::test]
async fn without_scripts_the_page_shows_the_same_prices() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "97012.30"), tick("ETH-USD", 40, "3400.000")]).await;
    rig.send(vec![
        gap_of("ADA-USD", 20, 40, common::domain::GapCause::TooFewSources, Some(3)),
        gap("BTC-USD", 20, 40),
    ])
    .await;
    rig.clock.set(at(42));
    let (page, prices) = (rig.get("/").await, rig.get("/v1/prices").await);
    let mut shown = rows(&page.text);
    let missing = shown.remove(0);
    assert_eq!(missing, ["ADA-USD", &format!("no price yet: too_few_sources since {}", at(20))]);
    let expected: Vec<Vec<String>> = prices.body["items"].as_array().unwrap().iter().map(cells).collect();
    assert_eq!(shown, expected);
    assert_eq!(shown[0][..4], ["BTC-USD", "97012.30", &at(10).to_string(), "stale"]);
    assert_eq!(shown[1][..4], ["ETH-USD", "3400.000", &at(40).to_string(), "fresh"]);
    let sequence = page.header("x-tickwell-sequence").unwrap();
    assert!(plain(&page.text).contains(&format!("As of sequence {sequence}<")), "{}", plain(&page.text));
}

#[tokio::test]
async fn without_scripts_the_page_says_that_prices_are_not_real() {
    for (origin, says) in [
        (Origin::Simulated, "<p>Simulated: these prices are made up.</p>"),
        (Origin::Replay, "<p>Replayed: these are not today's prices.</p>"),
        (Origin::Live, "<table>"),
    ] {
        let mut rig = Rig::new();
        rig.send(vec![common::wire::encode(&Record { origin, ..tick_record("BTC-USD", 10, "100") })]).await;
        let page = rig.get("/").await;
        assert!(plain(&page.text).starts_with(says), "{origin}: {}", plain(&page.text));
    }
}

/// The cells of a price, from the API's response.
fn cells(item: &serde_json::Value) -> Vec<String> {
    let text = |name: &str| item[name].as_str().unwrap().to_owned();
    let state = if item["stale"] == json!(true) { "stale" } else { "fresh" };
    let sources = item["sources"].as_array().unwrap().len().to_string();
    vec![text("pair"), text("price"), text("slot"), state.to_owned(), text("origin"), sources]
}

#[tokio::test]
async fn without_prices_the_page_says_why() {
    let rig = Rig::new();
    let empty = rig.get("/").await;
    let why = rig.get("/v1/prices").await.body["detail"].as_str().unwrap().replace('`', "");
    let shown = plain(&empty.text).replace("<code>", "").replace("</code>", "");
    assert_eq!(shown.trim(), format!("<p>No prices: {why}</p>"));

    // A pod that is starting already serves the page and its files.
    let starting = rig.starting();
    let page = Rig::answer(&starting, "/", &[]).await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
    assert_eq!(page.headers("content-security-policy"), [POLICY]);
    let later = Rig::answer(&starting, "/v1/prices", &[]).await;
    assert_eq!((later.status, &later.body["code"]), (503, &json!("starting")));
    assert!(plain(&page.text).contains(later.body["detail"].as_str().unwrap()), "{}", plain(&page.text));
    for reference in [&format!("{}/app.js", assets(&page.text)), "/favicon.ico", "/livez"] {
        assert_eq!(Rig::answer(&starting, reference, &[]).await.status, 200, "{reference}");
    }
}

#[tokio::test]
async fn if_keys_are_required_the_page_loads_without_a_key_and_shows_no_price() {
    let mut rig = Rig::new();
    rig.send(vec![tick("BTC-USD", 10, "97012.30")]).await;
    rig.clock.set(at(12));
    let keys = vec![KEY.parse().unwrap()];
    let client = rig.configured(&ApiConfig { rate_limit: RateLimit::Off, keys, ..ApiConfig::default() });
    let answer = async |path: &str| -> Answer { Rig::answer(&client, path, &[]).await };
    let page = answer("/").await;
    assert_eq!(
        (page.status, page.header("cache-control")),
        (200, Some("private, max-age=8, must-revalidate"))
    );
    assert!(!page.text.contains("97012") && !page.text.contains("BTC-USD</th>"), "{}", page.text);
    assert!(plain(&page.text).contains("X-API-Key"), "{}", plain(&page.text));
    for reference in references(&page.text).into_iter().filter(|path| path.starts_with("web/")) {
        assert_eq!(answer(&format!("/{reference}")).await.status, 200, "{reference}");
    }
    assert_eq!((answer("/favicon.ico").await.status, answer("/v1/prices").await.status), (200, 401));
}
