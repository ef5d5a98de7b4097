//! The alerts and the dashboard in `container/monitoring`: the Kubernetes object that is generated from the alerts, and
//! whether both refer to metrics that exist.

use std::{fs, path::Path};

use serde_json::Value;

use super::{assert_is_committed, metrics::sections, promql::Known};

const ALERTS: &str = include_str!("../../../container/monitoring/alerts.yaml");
const TESTS: &str = include_str!("../../../container/monitoring/alerts.test.yaml");
const DASHBOARD: &str = include_str!("../../../container/monitoring/dashboard.json");

const RULE_HEAD: &str = "\
# The alerts for the Prometheus Operator. Generated: edit container/monitoring/alerts.yaml, then run `just documents`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tickwell
  labels:
    app.kubernetes.io/name: tickwell
spec:
";

/// The alerts as a Kubernetes object.
fn prometheus_rule() -> String {
    let groups = &ALERTS[ALERTS.find("groups:\n").unwrap()..];
    let indented = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") };
    RULE_HEAD.to_owned() + &groups.lines().map(indented).collect::<String>()
}

fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap()
}

/// All rules of the file.
fn rules() -> Vec<Value> {
    let groups = yaml(ALERTS)["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn known() -> Known {
    let mut known = Known::exported();
    for rule in rules() {
        if let Some(name) = rule["record"].as_str() {
            known.recorded(name);
        }
    }
    known
}

#[test]
fn the_prometheus_rule_is_generated_from_the_alerts() {
    let generated = prometheus_rule();
    assert_is_committed("k8s/components/monitoring/rules.yaml", &generated);
    assert_eq!(yaml(&generated)["spec"], yaml(ALERTS));
}

#[test]
fn every_expression_of_the_alerts_refers_to_exported_metrics() {
    let known = known();
    for rule in rules() {
        let expression = rule["expr"].as_str().unwrap();
        assert_eq!(known.faults(expression), Vec::<String>::new(), "{expression}");
    }
}

#[test]
fn every_alert_has_a_summary_a_severity_a_section_in_the_runbook_and_unit_tests() {
    let runbook =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbook.md")).unwrap();
    let tests = yaml(TESTS)["tests"].as_array().unwrap().clone();
    let checks: Vec<Value> =
        tests.iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap().clone()).collect();
    let mut alerts = Vec::new();
    for rule in rules().into_iter().filter(|rule| rule["alert"].is_string()) {
        let name = rule["alert"].as_str().unwrap();
        let annotations = &rule["annotations"];
        assert!(annotations["summary"].as_str().unwrap().ends_with('.'), "{name}");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        let link = annotations["runbook_url"].as_str().unwrap();
        assert!(link.ends_with(&format!("/runbook.md#{}", name.to_lowercase())), "{link}");
        let section = runbook.split(&format!("\n## {name}\n")).nth(1);
        let section = section.unwrap_or_else(|| panic!("docs/runbook.md has no section {name}"));
        let section = section.split("\n## ").next().unwrap();
        for part in ["**Meaning.**", "**Likely causes.**", "**Look at.**", "**Do.**"] {
            assert!(section.contains(part), "the section {name} of docs/runbook.md has no {part}");
        }
        let fires = |check: &&Value| {
            check["alertname"] == name && !check["exp_alerts"].as_array().unwrap().is_empty()
        };
        let rests =
            |check: &&Value| check["alertname"] == name && check["exp_alerts"].as_array().unwrap().is_empty();
        assert!(checks.iter().any(|check| fires(&check)), "no test lets {name} fire");
        assert!(checks.iter().any(|check| rests(&check)), "no test expects that {name} does not fire");
        alerts.push(name.to_owned());
    }
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## Tickwell"));
    let sections: Vec<String> = sections.map(|name| format!("Tickwell{name}")).collect();
    assert_eq!(sections, alerts, "the runbook has the alerts in the order of alerts.yaml");
}

#[test]
fn every_expression_of_the_dashboard_refers_to_exported_metrics() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let known = known();
    let mut count = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            assert_eq!(known.faults(expression), Vec::<String>::new(), "{}: {expression}", panel["title"]);
            count += 1;
        }
    }
    assert!(count > 20, "{count} expressions");
}

#[test]
fn every_metric_that_the_documentation_mentions_is_exported() {
    let known = known();
    let families = sections().into_iter().flat_map(|section| section.families);
    let families: Vec<String> = families.map(|family| family.name().to_owned()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = ["runbook.md", "operations.md", "reliability.md", "sources.md", "../nats/README.md"];
    for name in pages {
        let page = fs::read_to_string(root.join("docs").join(name)).unwrap();
        // Every second part is in backticks.
        let codes = page.split('`').skip(1).step_by(2).filter(|code| code.contains("tickwell_"));
        // The name alone may be that of a histogram.
        for code in codes.filter(|code| !families.iter().any(|family| family == code)) {
            assert_eq!(known.faults(code), Vec::<String>::new(), "{name}: {code}");
        }
    }
}
