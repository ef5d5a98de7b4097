//! The documents in the repository, held against what the code says.

use std::{fs, path::Path};

use serde_json::Value;

use crate::rig::{Answer, Rig};

/// Set, the documents are written and not compared: `just documents`.
const RENEW: &str = "TICKWELL_RENEW_DOCUMENTS";

/// The document in the repository promises such an answer of this route: its status, and the code of a problem.
pub(crate) fn assert_promised(path: &str, answer: &Answer) {
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let path = path.split('?').next().unwrap();
    // What is not in the document promises nothing.
    let mut routes = document["paths"].as_object().unwrap().iter();
    let Some((route, item)) = routes.find(|(route, _)| is_at(path, route)) else { return };
    let response = &item["get"]["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{route} answers {}, which the document does not say", answer.status);
    let problems = &response["content"]["application/problem+json"]["examples"];
    if let Some(code) = answer.body["code"].as_str() {
        assert!(problems[code].is_object(), "{route} answers {code}, which the document does not say");
    }
}

fn is_at(path: &str, route: &str) -> bool {
    let (parts, names) = (path.split('/'), route.split('/'));
    parts.clone().count() == names.clone().count()
        && parts.zip(names).all(|(part, name)| part == name || name.starts_with('{'))
}

fn committed(name: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os(RENEW).is_some() {
        fs::write(&path, now).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == now, "docs/{name} is not what the code says; renew it with: just documents");
}

#[tokio::test]
async fn the_document_of_the_routes_is_the_committed_one() {
    let rig = Rig::new();
    let served = rig.text("/openapi.json").await;
    committed("openapi.json", &served);
    assert!(rig.text("/docs").await.contains(&served), "/docs shows another document than /openapi.json");
}

#[tokio::test]
async fn every_code_is_described_where_problems_point_to() {
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
        let told = format!("<code>{end}</code>");
        assert!(page.contains(&told) && page.contains(&end.close_code().to_string()), "{end}");
    }
}
