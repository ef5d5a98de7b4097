//! Tests the OpenAPI document: sends requests that are generated from it, and tries out every operation in a browser.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    harness::{BINARY, DEADLINE, Pod, Scene},
    tools::{PYTHON_VARIABLE, browser_script, python, workspace},
};

/// How many random requests are generated for each operation, in addition to the examples in the document. With this
/// number, the test takes some seconds. `just schemathesis --max-examples 1000` generates more requests.
const GENERATED: &str = "10";
const SEED: &str = "1";

#[tokio::test]
async fn every_response_to_a_generated_request_is_in_the_document() {
    let Some(python) = python() else { return };
    let mut command = tokio::process::Command::new(workspace().join("scripts/schemathesis"));
    command.args(["--binary", BINARY, "--max-examples", GENERATED, "--seed", SEED]);
    let output = command.env(PYTHON_VARIABLE, python).output().await.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn every_operation_can_be_tried_out_in_a_browser() {
    let Some(mut script) = browser_script("swagger_ui.mjs") else { return };
    // The pairs that the document's examples use.
    let scene =
        Scene::new(std::time::Duration::from_secs(1)).with("TICKWELL__FEED__PAIRS", "BTC-USD,ETH-USD");
    let pod = Pod::of(scene.command("demo").args(["run", "--demo"]).start().unwrap()).await;
    crate::harness::has_price(&pod).await;

    let output = tokio::time::timeout(DEADLINE, script.arg(&pod.url).output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["problems"].as_array().unwrap(), &Vec::<Value>::new());
    let tried = found["tried"].as_array().unwrap();
    let document = pod.get("/openapi.json").await.found();
    for tried in tried {
        let operations = document["paths"][tried["path"].as_str().unwrap()].as_object().unwrap();
        let responses = &operations.values().next().unwrap()["responses"];
        let expected = Value::from(if responses["201"].is_object() { 201 } else { 200 });
        assert_eq!((&tried["status"], &tried["shown"]), (&expected, &expected), "{tried}");
        // This route needs ids of coins, or names, or symbols.
        let needed = if tried["path"] == "/api/v3/simple/price" { json!(["ids"]) } else { json!([]) };
        assert_eq!(tried["filledIn"], needed, "{tried}");
        for chosen in tried["chosen"].as_array().unwrap() {
            let [media_type, answered] = [&chosen[0], &chosen[1]].map(|text| text.as_str().unwrap());
            assert!(answered.starts_with(media_type) && !media_type.is_empty(), "{tried}");
        }
    }
    assert_eq!(tried[0]["path"], "/v1/prices/{pair}");
    assert_eq!(found["padlocks"], 0, "this pod requires no keys");
    let history = tried.iter().find(|tried| tried["path"].as_str().unwrap().ends_with("/history")).unwrap();
    assert_eq!(history["chosen"].as_array().map(Vec::len), Some(3), "{history}");
    let documented: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        tried.iter().map(|tried| tried["path"].as_str().unwrap()).collect::<BTreeSet<_>>(),
        documented
    );
}
