//! Shows which of Tickwell's metrics changed, both counters and gauges.

use std::collections::BTreeMap;

/// How the names of the watched metrics begin. These are the counts of quotes, slots and records.
const WATCHED: [&str; 7] = [
    "tickwell_source_quotes_",
    "tickwell_source_failures_",
    "tickwell_source_resting",
    "tickwell_slots_",
    "tickwell_publish_queue_",
    "tickwell_publish_dropped_",
    "tickwell_publish_retries_",
];

/// The watched metrics by their name and labels.
pub(crate) fn read(text: &str) -> BTreeMap<String, i64> {
    let is_watched = |line: &&str| WATCHED.iter().any(|start| line.starts_with(start));
    let metric = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter(is_watched).filter_map(metric).collect()
}

/// A line for each metric that changed.
pub(crate) fn moved(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> Vec<String> {
    let grown = |(name, now): (&String, &i64)| {
        let by = now - before.get(name).copied().unwrap_or(0);
        (by != 0).then(|| format!("  {name} {by:+}"))
    };
    after.iter().filter_map(grown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_metric_is_shown_with_its_labels() {
        let polls = "tickwell_source_quotes_total{source=\"kraken\",verdict=\"used\"}";
        let before = read(&format!("# HELP x y\n{polls} 4\ntickwell_price{{pair=\"BTC-USD\"}} 1.5\n"));
        let after = read(&format!("{polls} 12\ntickwell_publish_retries_total 0\n"));
        assert_eq!(before.len(), 1);
        assert_eq!(moved(&before, &after), [format!("  {polls} +8")]);
    }
}
