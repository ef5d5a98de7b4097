//! `docs/configuration.md`: every setting, from the settings types and the example file.

use std::{collections::BTreeMap, fmt::Write as _};

use common::{
    domain::{PriceRule, Words},
    telemetry::LogFormat,
};
use poller::{SourceConfig, config::Role, source::Plan};

use super::code;
use crate::{
    mode::Mode,
    settings::{self, EXAMPLE, PREFIX, SEPARATOR, Settings, SettingsLayers, known},
};

const HEAD: &str = "\
# Configuration

<!-- Generated from the settings types and `tickwell config example`. Edit those, then run `just documents`. -->

Every setting has a default, so Tickwell runs without any configuration. A setting is read from the first of these
places that has it:

1. A flag: `--set feed.interval=10s`. It can be repeated.
2. An environment variable: `TICKWELL__FEED__INTERVAL=10s`. Its name is `TICKWELL__` and the name of the setting in
   capital letters, with two underscores for each dot.
3. A file: the one given with `--config` or `TICKWELL_CONFIG`, or else `tickwell.toml` in the working directory, if it
   exists.
4. The default.

`tickwell config example` prints a file with all settings. `tickwell config show` prints the effective settings, and
`tickwell config check` checks them without starting anything. An unknown setting is an error. A process reads its
settings when it starts, so restart it after changing one.

Lists are written as TOML arrays in a file, and separated by commas in flags and environment variables.
";

/// How the value of a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Duration,
    Ratio,
    Number,
    Pairs,
    Sources,
    Recordings,
    Speed,
    BackfillSpan,
    WebOrigins,
    Networks,
    ApiKeys,
    Switch,
    CoinIds,
    RateLimit,
    Address,
    Proxy,
    Role,
    PriceRule,
    Plan,
    LogStyle,
    Path,
    Text,
}

/// The format of each setting. `sources.NAME.…` and `pairs.NAME.…` stand for the settings of any source and pair.
const FORMATS: [(&str, Format); 50] = [
    ("feed.interval", Format::Duration),
    ("feed.pairs", Format::Pairs),
    ("feed.sources", Format::Sources),
    ("sources.proxy", Format::Proxy),
    ("sources.contact", Format::Text),
    ("sources.NAME.role", Format::Role),
    ("sources.NAME.url", Format::Text),
    ("sources.NAME.proxy", Format::Proxy),
    ("sources.NAME.max_quote_age", Format::Duration),
    ("sources.NAME.key", Format::Text),
    ("sources.NAME.key_file", Format::Path),
    ("sources.NAME.plan", Format::Plan),
    ("aggregate.price", Format::PriceRule),
    ("aggregate.min_sources", Format::Number),
    ("aggregate.max_deviation", Format::Ratio),
    ("aggregate.max_quote_age", Format::Duration),
    ("aggregate.max_clock_skew", Format::Duration),
    ("aggregate.frozen_after", Format::Duration),
    ("pairs.NAME.sources", Format::Sources),
    ("pairs.NAME.price", Format::PriceRule),
    ("pairs.NAME.min_sources", Format::Number),
    ("pairs.NAME.max_deviation", Format::Ratio),
    ("pairs.NAME.max_quote_age", Format::Duration),
    ("pairs.NAME.frozen_after", Format::Duration),
    ("backfill.span", Format::BackfillSpan),
    ("replay.files", Format::Recordings),
    ("replay.speed", Format::Speed),
    ("bus.url", Format::Text),
    ("bus.stream", Format::Text),
    ("bus.subject_prefix", Format::Text),
    ("bus.credentials_file", Format::Path),
    ("bus.user", Format::Text),
    ("bus.password_file", Format::Path),
    ("bus.lease", Format::Duration),
    ("bus.replicas", Format::Number),
    ("api.listen", Format::Address),
    ("api.rate_limit", Format::RateLimit),
    ("api.cors_origins", Format::WebOrigins),
    ("api.trusted_proxies", Format::Networks),
    ("api.keys", Format::ApiKeys),
    ("api.coingecko", Format::Switch),
    ("api.coingecko_ids", Format::CoinIds),
    ("admin.listen", Format::Address),
    ("store.path", Format::Path),
    ("store.retain_ticks", Format::Duration),
    ("store.retain_quotes", Format::Duration),
    ("windows.keep", Format::Duration),
    ("windows.stale_after", Format::Duration),
    ("log.format", Format::LogStyle),
    ("log.level", Format::Text),
];

impl Format {
    /// How a value is written.
    fn describe(self) -> String {
        match self {
            Self::Duration => "duration, such as `30s` (units: `ms`, `s`, `m`, `h`, `d`)".to_owned(),
            Self::Ratio => "percentage such as `2%`, or ratio such as `0.02`".to_owned(),
            Self::Number => "whole number".to_owned(),
            Self::Pairs => "list of pairs, such as `BTC-USD`".to_owned(),
            Self::Sources => "list of source names".to_owned(),
            Self::Recordings => "list of recordings, each `venue:PAIR:path`".to_owned(),
            Self::BackfillSpan => "duration of at most 24h, or `off`".to_owned(),
            Self::Speed => "factor such as `60x`, or `max`".to_owned(),
            Self::WebOrigins => "list of origins, such as `https://example.org`, or `*`".to_owned(),
            Self::Networks => "list of addresses or networks, such as `10.0.0.0/8`".to_owned(),
            Self::ApiKeys => "list of keys, each `NAME=SHA256`".to_owned(),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::CoinIds => "list of ids, each `ASSET=ID`, such as `FOO=foo-protocol`".to_owned(),
            Self::RateLimit => "`COUNT/UNIT`, where `UNIT` is `s`, `m` or `h`; or `off`".to_owned(),
            Self::Address => "`HOST:PORT`".to_owned(),
            Self::Proxy => "URL of a proxy, such as `http://proxy.example:3128`; or `off`".to_owned(),
            Self::Role => one_of::<Role>(),
            Self::PriceRule => one_of::<PriceRule>(),
            Self::Plan => one_of::<Plan>(),
            Self::LogStyle => one_of::<LogFormat>(),
            Self::Path => "path".to_owned(),
            Self::Text => "text".to_owned(),
        }
    }

    /// A value that settings with this format must refuse; `None` if every text is valid.
    fn refused(self) -> Option<&'static str> {
        match self {
            Self::Duration => Some("10"),
            Self::Ratio => Some("a lot"),
            Self::Number => Some("two"),
            Self::Pairs => Some("BTCUSD"),
            Self::Sources => Some("not a name"),
            Self::Recordings => Some("file.csv"),
            Self::BackfillSpan => Some("25h"),
            Self::Speed => Some("60"),
            Self::WebOrigins => Some("example.org"),
            Self::Networks => Some("10.0.0.0/33"),
            Self::ApiKeys => Some("key"),
            Self::Switch => Some("maybe"),
            Self::CoinIds => Some("FOO"),
            Self::RateLimit => Some("600"),
            Self::Address => Some("127.0.0.1"),
            Self::Proxy => Some("proxy.example:3128"),
            Self::Role | Self::PriceRule | Self::Plan | Self::LogStyle => Some("something"),
            Self::Path | Self::Text => None,
        }
    }
}

fn one_of<T: Words>() -> String {
    T::ALL.iter().map(|word| format!("`{}`", word.as_str())).collect::<Vec<_>>().join(", ")
}

/// One table of the example file.
struct Section {
    /// The name of the table, such as `feed` or `sources.NAME`.
    name: String,
    meaning: String,
    /// The names of its settings, with their meaning.
    settings: Vec<(String, String)>,
}

/// The tables of the example file with their comments. The tables of all sources become one section.
fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut comment = Vec::new();
    for line in EXAMPLE.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
            continue;
        }
        let meaning = std::mem::take(&mut comment).join(" ");
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let name = match name.split_once('.') {
                Some((kind, _)) => format!("{kind}.NAME"),
                None => name.to_owned(),
            };
            if sections.last().is_none_or(|last| last.name != name) {
                sections.push(Section { name, meaning, settings: Vec::new() });
            }
        } else if let (Some((name, _)), Some(section)) = (line.split_once(" = "), sections.last_mut()) {
            section.settings.push((name.to_owned(), meaning));
        }
    }
    sections
}

/// The defaults of all settings, as TOML values.
fn defaults() -> BTreeMap<String, String> {
    let all = toml::Table::try_from(Settings::default()).unwrap();
    let source = toml::Table::try_from(SourceConfig::default()).unwrap();
    let of_sources =
        source.into_iter().map(|(name, value)| (format!("sources.NAME.{name}"), value.to_string()));
    let value = |key: &String| {
        let (table, name) = key.split_once('.')?;
        Some((key.clone(), all.get(table)?.get(name)?.to_string()))
    };

    known::keys_of(&all).iter().filter_map(value).chain(of_sources).collect()
}

/// The whole page.
pub(super) fn markdown() -> String {
    let defaults = defaults();
    let formats: BTreeMap<&str, Format> = FORMATS.into_iter().collect();
    let mut page = HEAD.to_owned();
    for Section { name: table, meaning, settings } in sections() {
        write!(page, "\n## `[{table}]`\n\n{}\n", code(&meaning)).unwrap();
        for (name, meaning) in settings {
            let key = format!("{table}.{name}");
            let default = match defaults.get(&key).map(String::as_str) {
                None => "not set".to_owned(),
                Some("\"\"") => "empty".to_owned(),
                Some("[]") => "empty list".to_owned(),
                Some(value) => format!("`{value}`"),
            };
            let variable = format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', SEPARATOR));
            let format = formats[key.as_str()].describe();
            write!(
                page,
                "\n### `{key}`\n\n{}\n\n- Format: {format}\n- Default: {default}\n- Environment variable: `{variable}`\n",
                code(&meaning)
            )
            .unwrap();
        }
    }
    page
}

#[test]
fn every_setting_is_described_once() {
    let mut described: Vec<String> = Vec::new();
    for section in sections() {
        assert!(!section.meaning.is_empty(), "[{}] has no comment in the example", section.name);
        for (name, meaning) in section.settings {
            assert!(!meaning.is_empty(), "{}.{name} has no comment in the example", section.name);
            described.push(format!("{}.{name}", section.name));
        }
    }
    described.sort();
    let (of_a_source, others): (Vec<_>, Vec<_>) = known::all()
        .into_iter()
        .partition(|key| key.starts_with("sources.") && key.matches('.').count() == 2);
    assert_eq!(of_a_source.len() % known::of_a_source().len(), 0);
    let of_a_source = known::of_a_source().iter().map(|name| format!("sources.NAME.{name}"));
    let of_a_pair = known::of_a_pair().iter().map(|name| format!("pairs.NAME.{name}"));
    let mut expected: Vec<String> = others.into_iter().chain(of_a_source).chain(of_a_pair).collect();
    expected.sort();
    assert_eq!(described, expected);
    let mut formats: Vec<&str> = FORMATS.iter().map(|(key, _)| *key).collect();
    formats.sort_unstable();
    assert_eq!(formats, expected);
}

#[test]
fn each_format_matches_the_type_of_its_setting() {
    for (key, format) in FORMATS {
        let Some(value) = format.refused() else { continue };
        let key = key.replace("sources.NAME", "sources.coingecko").replace("pairs.NAME", "pairs.BTC-USD");
        let layers =
            SettingsLayers { overrides: vec![(key.clone(), value.to_owned())], ..Default::default() };
        let error = format!("{:#}", settings::load(layers, Mode::Run).expect_err(&key));
        assert!(error.starts_with(&format!("--set: {key}: ")), "{key}={value}: {error}");
    }
}
