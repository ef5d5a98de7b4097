//! Finds the metrics and labels that a PromQL expression refers to, to compare them with those that are exported.
//! `promtool` checks the syntax.

use std::collections::{BTreeMap, BTreeSet};

use super::metrics::{labels, sections};

/// Labels that Prometheus adds to the metrics of a target.
const OF_TARGET: [&str; 4] = ["namespace", "job", "instance", "pod"];

/// Words that are followed by labels in parentheses.
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Other words that are neither metrics nor functions.
const KEYWORDS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];

/// The metrics that an expression may refer to: for each, its labels with their values.
pub(super) struct Known(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

impl Known {
    /// Everything that our processes export, and what Prometheus adds.
    pub(super) fn exported() -> Self {
        let families = sections().into_iter().flat_map(|section| section.families);
        let of_alerts =
            ["alertname", "alertstate", "severity"].map(|label| (label.to_owned(), BTreeSet::new()));
        let mut known = BTreeMap::from([
            ("up".to_owned(), BTreeMap::new()),
            ("ALERTS".to_owned(), BTreeMap::from(of_alerts)),
        ]);
        for family in families {
            let (name, mut labels) = (family.name().to_owned(), labels(&family));
            if family.get_field_type() == prometheus::proto::MetricType::HISTOGRAM {
                for suffix in ["_count", "_sum"] {
                    known.insert(format!("{name}{suffix}"), labels.clone());
                }
                labels.insert("le".to_owned(), BTreeSet::new());
                known.insert(format!("{name}_bucket"), labels);
            } else {
                known.insert(name, labels);
            }
        }
        Self(known)
    }

    /// Adds the result of a recording rule, which has only the labels of the target.
    pub(super) fn recorded(&mut self, name: &str) {
        self.0.insert(name.to_owned(), BTreeMap::new());
    }

    /// What is wrong with an expression: a metric that is not exported, or a label or a value that it does not have.
    pub(super) fn faults(&self, expression: &str) -> Vec<String> {
        let tokens = tokens(expression);
        let (mut faults, mut seen, mut grouped) = (Vec::new(), BTreeSet::new(), Vec::new());
        let mut rest = tokens.as_slice();
        while let Some((token, after)) = rest.split_first() {
            rest = after;
            match token {
                Token::Sign('[') => rest = until(rest, ']').1,
                Token::Word(word) if GROUPING.contains(&word.as_str()) => {
                    let (names, after) = until(rest.get(1..).unwrap_or_default(), ')');
                    grouped.extend(words(names));
                    rest = after;
                }
                Token::Word(word) if KEYWORDS.contains(&word.as_str()) => {}
                Token::Word(_) if is_function(rest) => {}
                Token::Word(name) => {
                    let Some(labels) = self.0.get(name) else {
                        faults.push(format!("{name} is not exported"));
                        continue;
                    };
                    seen.extend(labels.keys().cloned());
                    if rest.first() == Some(&Token::Sign('{')) {
                        let (matchers, after) = until(rest.get(1..).unwrap_or_default(), '}');
                        faults.extend(wrong_matchers(name, labels, matchers));
                        rest = after;
                    }
                }
                Token::Text(_) | Token::Sign(_) => {}
            }
        }
        let is_known = |label: &String| seen.contains(label) || OF_TARGET.contains(&label.as_str());
        faults.extend(
            grouped.into_iter().filter(|label| !is_known(label)).map(|label| format!("no label {label}")),
        );
        faults
    }
}

fn wrong_matchers(
    name: &str,
    labels: &BTreeMap<String, BTreeSet<String>>,
    matchers: &[Token],
) -> Vec<String> {
    let open = super::metrics::OPEN;
    let parts = matchers.split(|token| *token == Token::Sign(','));
    let wrong = parts.flat_map(|matcher| match matcher {
        [Token::Word(label), .., Token::Text(text)] => match labels.get(label) {
            None if OF_TARGET.contains(&label.as_str()) => Vec::new(),
            None => vec![format!("{name} has no label {label}")],
            Some(_) if open.contains(&label.as_str()) || text.contains(['(', '.', '$']) => Vec::new(),
            Some(values) if values.is_empty() => Vec::new(),
            Some(values) => {
                let unknown = text.split('|').filter(|value| !values.contains(*value));
                unknown.map(|value| format!("{name} has no {label} {value}")).collect()
            }
        },
        _ => Vec::new(),
    });
    wrong.collect()
}

/// Whether a word before these tokens is a function or an aggregation, such as `rate(…)` or `sum by (…) (…)`.
fn is_function(after: &[Token]) -> bool {
    match after.first() {
        Some(Token::Sign(sign)) => *sign == '(',
        Some(Token::Word(word)) => ["by", "without"].contains(&word.as_str()),
        _ => false,
    }
}

/// The tokens before a sign, and those after it.
fn until(tokens: &[Token], end: char) -> (&[Token], &[Token]) {
    let at = tokens.iter().position(|token| *token == Token::Sign(end)).unwrap_or(tokens.len());
    (&tokens[..at], tokens.get(at + 1..).unwrap_or_default())
}

fn words(tokens: &[Token]) -> impl Iterator<Item = String> {
    tokens.iter().filter_map(|token| if let Token::Word(word) = token { Some(word.clone()) } else { None })
}

fn tokens(expression: &str) -> Vec<Token> {
    let (mut tokens, mut rest) = (Vec::new(), expression);
    while let Some(first) = rest.chars().next() {
        let is_inside = |sign: char| sign.is_ascii_alphanumeric() || sign == '_' || sign == ':';
        let length = rest.find(|sign| !is_inside(sign)).unwrap_or(rest.len());
        if first == '"' {
            let text = rest[1..].split('"').next().unwrap_or_default();
            tokens.push(Token::Text(text.to_owned()));
            rest = rest.get(text.len() + 2..).unwrap_or_default();
        } else if first.is_ascii_digit() {
            rest = &rest[length..];
        } else if length > 0 {
            tokens.push(Token::Word(rest[..length].to_owned()));
            rest = &rest[length..];
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Sign(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

#[test]
fn wrong_names_labels_and_values_are_found() {
    let known = Known::exported();
    let slots =
        "sum by (pair) (rate(tickwell_slots_total{outcome!=\"price\", job=~\".*tickwell.*\"}[5m])) > 0.5e3";
    assert_eq!(known.faults(slots), Vec::<String>::new());
    assert_eq!(
        known.faults("histogram_quantile(0.9, rate(tickwell_publish_duration_seconds_bucket[1m]))"),
        [""; 0]
    );
    for (expression, fault) in [
        ("rate(tickwell_slot_total[5m]) > 1", "tickwell_slot_total is not exported"),
        ("tickwell_publish_duration_seconds", "tickwell_publish_duration_seconds is not exported"),
        ("sum by (source) (tickwell_slots_total)", "no label source"),
        ("tickwell_slots_total{cause=\"missed\"}", "tickwell_slots_total has no label cause"),
        ("tickwell_slots_total{outcome=~\"missed|lost\"}", "tickwell_slots_total has no outcome lost"),
        ("a and on (job) up", "a is not exported"),
    ] {
        assert_eq!(known.faults(expression), [fault], "{expression}");
    }
}
