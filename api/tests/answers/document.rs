//! The documents in the repository match the code, and responses match the documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use crate::{
    members::{Members, Raw},
    rig::{Answer, Rig, gap, lead, tick},
};

/// If this variable is set (`just documents`), the documents are written before they are compared.
const RENEW: &str = "TICKWELL_RENEW_DOCUMENTS";

const PROBLEM: &str = "application/problem+json";

/// The operations and schemas of an OpenAPI document.
struct Document {
    /// The paths that can be read, each with its operation.
    operations: Vec<(String, Members)>,
    schemas: BTreeMap<String, Members>,
    whole: Members,
}

static COMMITTED: LazyLock<Document> = LazyLock::new(|| {
    let document: Members = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let operation = |(path, item): (String, Raw)| Some((path, item.members().unwrap().at(&["get"])?));
    let operations = document.at(&["paths"]).unwrap().0.into_iter().filter_map(operation).collect();
    let schemas = document.at(&["components", "schemas"]).unwrap().0.into_iter();
    let schemas = schemas.map(|(name, schema)| (name, schema.members().unwrap())).collect();
    Document { operations, schemas, whole: document }
});

impl Document {
    /// The operation at a path, if the document has it.
    fn operation(&self, path: &str) -> Option<&Members> {
        self.operations.iter().find(|(route, _)| is_at(path, route)).map(|(_, operation)| operation)
    }

    /// Follows a reference to another part of the document, if this part is one.
    fn resolve(&self, part: Members) -> Members {
        match part.parse::<String>("$ref") {
            Some(path) => {
                let path: Vec<&str> = path.trim_start_matches("#/").split('/').collect();
                self.whole.at(&path).unwrap()
            }
            None => part,
        }
    }

    /// Checks that a value has the members of its schema, in the order of the schema. Adds the names of the schemas
    /// that it used to `checked`.
    fn check(&self, schema: &Members, value: &Raw, checked: &mut BTreeSet<String>) {
        if let Some(reference) = schema.parse::<String>("$ref") {
            let name = reference.rsplit('/').next().unwrap();
            let schema = &self.schemas[name];
            if let Some(words) = schema.parse::<Vec<String>>("enum") {
                let is_listed = words.iter().any(|word| value.text() == format!("\"{word}\""));
                assert!(is_listed, "{} is not a word of {name}", value.text());
                assert!(!value.text().contains("other"), "no release returns `other` yet");
            }
            if schema.get("properties").is_some() {
                checked.insert(name.to_owned());
            }
            return self.check(schema, value, checked);
        }
        if schema.get("discriminator").is_some() {
            let kind: String = value.members().unwrap().parse("kind").unwrap();
            let line = schema.at(&["discriminator", "mapping"]).unwrap().parse::<String>(&kind).unwrap();
            let line = line.rsplit('/').next().unwrap().to_owned();
            checked.insert(line.clone());
            self.check(&self.schemas[&line], value, checked);
        }
        for part in schema.get("allOf").and_then(Raw::list).into_iter().flatten() {
            self.check(&part.members().unwrap(), value, checked);
        }
        if let (Some(properties), Some(members)) = (schema.at(&["properties"]), value.members()) {
            let names: Vec<&String> = members.0.iter().map(|(name, _)| name).collect();
            let documented = properties.0.iter().map(|(name, _)| name);
            let expected: Vec<&String> = documented.filter(|name| names.contains(name)).collect();
            assert_eq!(names, expected, "the order of members");
            let required: Vec<String> = schema.parse("required").unwrap_or_default();
            for name in &required {
                assert!(members.get(name).is_some(), "{name} is required: {}", value.text());
            }
            for (name, value) in &members.0 {
                let schema = properties.at(&[name]).unwrap();
                // A reference may have null as its alternative.
                let alternatives = schema.parse("oneOf").unwrap_or_else(|| vec![schema.clone()]);
                let is_nullable = |schema: &Members| schema.parse("nullable").unwrap_or(false);
                if value.text() == "null" {
                    assert!(alternatives.iter().any(is_nullable), "{name} must not be null");
                } else {
                    self.check(&alternatives[0], value, checked);
                }
            }
        }
        if let (Some(values), Some(members)) = (schema.at(&["additionalProperties"]), value.members()) {
            members.0.iter().for_each(|(_, value)| self.check(&values, value, checked));
        }
        if let (Some(items), Some(values)) = (schema.at(&["items"]), value.list()) {
            values.iter().for_each(|value| self.check(&items, value, checked));
        }
    }
}

/// Checks that the document lists this response of the route: its status, the code of a problem, and its members in the
/// same order as in the response. Returns the names of the schemas that were checked.
pub(crate) fn assert_promised(path: &str, answer: &Answer) -> BTreeSet<String> {
    let document = &*COMMITTED;
    let mut checked = BTreeSet::new();
    // A route that is not in the document can return anything.
    let Some(operation) = document.operation(path.split('?').next().unwrap()) else { return checked };
    let response = operation.at(&["responses", &answer.status.to_string()]);
    assert!(response.is_some(), "{path} returned {}, which is not in the document", answer.status);
    let response = document.resolve(response.unwrap());
    if let Some(code) = answer.body["code"].as_str() {
        let example = response.at(&["content", PROBLEM, "examples", code]);
        assert!(example.is_some(), "{path} returned {code}, which is not in the document");
    }
    let content = answer.header("content-type").map(|name| name.split(';').next().unwrap());
    let content = content.and_then(|name| response.at(&["content", name]));
    if let (Some(content), Some(value)) = (content, Raw::parse(&answer.text)) {
        document.check(&content.at(&["schema"]).unwrap(), &value, &mut checked);
    }
    checked
}

fn is_at(path: &str, route: &str) -> bool {
    let (parts, names) = (path.split('/'), route.split('/'));
    parts.clone().count() == names.clone().count()
        && parts.zip(names).all(|(part, name)| part == name || (name.starts_with('{') && !part.is_empty()))
}

fn committed(name: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os(RENEW).is_some() {
        fs::write(&path, now).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == now, "docs/{name} differs from the code; renew it with: just documents");
}

#[tokio::test]
async fn the_committed_openapi_document_matches_the_code() {
    let rig = Rig::new();
    let served = rig.text("/openapi.json").await;
    committed("openapi.json", &served);
    assert!(rig.text("/docs").await.contains(&served), "/docs shows another document than /openapi.json");
}

#[tokio::test]
async fn every_code_is_described_on_the_page_that_problems_link_to() {
    let rig = Rig::new();
    committed("errors.md", &api::problem::errors_markdown());
    let missing = rig.get("/v1/nothing").await;
    let kind = missing.body["type"].as_str().unwrap();
    let (page, code) = kind.split_once('#').unwrap();
    assert_eq!(missing.body["code"], code);
    let page = rig.text(page).await;
    for code in <api::problem::Code as common::domain::Words>::ALL {
        let (anchor, status) = (format!("id=\"{code}\""), code.status().to_string());
        assert!(page.contains(&anchor) && page.contains(&status), "{code}");
    }
    assert!(page.contains("id=\"ends-of-streams\""));
    for end in <api::stream_end::StreamEnd as common::domain::Words>::ALL {
        let name = format!("<code>{end}</code>");
        assert!(page.contains(&name) && page.contains(&end.close_code().to_string()), "{end}");
    }
}

#[tokio::test]
async fn answers_list_their_members_in_the_order_of_the_document() {
    let mut rig = Rig::new();
    rig.send(vec![lead("BTC-USD"), tick("BTC-USD", 10, "100"), gap("BTC-USD", 20, 30)]).await;
    let mut checked = BTreeSet::new();
    for path in [
        "/v1/pairs",
        "/v1/prices",
        "/v1/prices/BTC-USD",
        "/v1/prices/BTC-USD/averages",
        "/v1/prices/BTC-USD/history",
        "/v1/prices/BTC-USD/candles?interval=1m",
        "/v1/prices/BTC-USD/gaps",
        "/v1/prices/BTC-USD/gaps?merge=true",
        "/v1/prices/BTC-USD/at?time=1699920010000&time=1699920025000",
        "/v1/ticks/1",
        "/v1/ticks/2",
        "/v1/ticks/3",
        "/v1/convert?from=BTC&to=USD",
        "/v1/sources",
        "/readyz?verbose",
        "/version",
        "/api/v3/ping",
        "/api/v3/coins/list",
        "/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=1",
        "/api/v3/exchange_rates",
        // This error response has every member that a problem can have.
        "/v1/prices/BTC-USD?min_sources=9",
    ] {
        checked.append(&mut assert_promised(path, &rig.get(path).await));
    }
    let document = &*COMMITTED;
    let mut ticket = rig.client().post("/v1/tickets").send().await;
    let ticket = ticket.0.take_body().into_string().await.unwrap();
    document.check(&document.schemas["Ticket"], &Raw::parse(&ticket).unwrap(), &mut checked);
    checked.insert("Ticket".to_owned());
    let mut lines = rig.first_events("/v1/stream?format=ndjson&after=0").await;
    lines.truncate(2);
    lines.push(r#"{"kind":"end","code":"shutting_down","detail":"bye"}"#.to_owned());
    for line in lines {
        document.check(&document.schemas["Event"], &Raw::parse(&line).unwrap(), &mut checked);
    }
    let objects = document.schemas.iter().filter(|(_, schema)| schema.get("properties").is_some());
    assert_eq!(checked, objects.map(|(name, _)| name.clone()).collect());
}

#[tokio::test]
async fn examples_list_their_members_in_the_order_of_the_document() {
    let document = &*COMMITTED;
    let mut checked = BTreeSet::new();
    for (_, operation) in &document.operations {
        for (_, response) in operation.at(&["responses"]).unwrap().0 {
            let contents = document.resolve(response.members().unwrap()).at(&["content"]);
            for (_, content) in contents.into_iter().flat_map(|contents| contents.0) {
                let content = content.members().unwrap();
                let schema = content.at(&["schema"]).unwrap();
                let named = content.at(&["examples"]).into_iter().flat_map(|examples| examples.0);
                let named = named.map(|(_, example)| {
                    document.resolve(example.members().unwrap()).get("value").unwrap().clone()
                });
                for example in named.chain(content.get("example").cloned()) {
                    document.check(&schema, &example, &mut checked);
                }
            }
        }
    }
    assert!(checked.contains("Problem") && checked.contains("WindowItem"), "{checked:?}");
}
