//! Tests that valid settings are accepted, and that invalid ones are refused with the name of the setting.

use super::*;
use crate::source::Plan;

fn resolve(change: impl FnOnce(&mut PollerConfig)) -> Result<Settings, ConfigError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = PollerConfig::default();
    change(&mut config);
    config.resolve()
}

fn keyed(url: &str, key: &str, plan: Option<Plan>) -> SourceConfig {
    SourceConfig { url: url.into(), key: key.to_owned().into(), plan, ..Default::default() }
}

#[test]
fn the_defaults_work() {
    let settings = resolve(|_| {}).unwrap();
    assert_eq!(settings.origin, Origin::Live);
    assert_eq!(settings.members.len(), 3);
}

#[test]
fn coingecko_is_a_fallback_unless_a_role_is_set() {
    let role = |role: Option<Role>| {
        let settings = resolve(|config| {
            config.feed.sources.push("coingecko".parse().unwrap());
            config.sources.by_name.insert("coingecko".into(), SourceConfig { role, ..Default::default() });
        });
        settings.unwrap().members.iter().map(|member| member.role).collect::<Vec<_>>()
    };
    assert_eq!(role(None), [Role::Primary, Role::Primary, Role::Primary, Role::Fallback]);
    assert_eq!(role(Some(Role::Shadow)).last(), Some(&Role::Shadow));
}

#[test]
fn coingecko_quotes_may_be_older_unless_an_age_is_set() {
    let limits = |max_quote_age: Option<Span>| {
        let settings = resolve(|config| {
            config.feed.sources.push("coingecko".parse().unwrap());
            config
                .sources
                .by_name
                .insert("coingecko".into(), SourceConfig { max_quote_age, ..Default::default() });
        });
        settings.unwrap().members.iter().map(|member| member.max_age).collect::<Vec<_>>()
    };
    assert_eq!(limits(None), [None, None, None, Some(Span::from_seconds(180))]);
    assert_eq!(limits(Some(Span::from_seconds(60))).last(), Some(&Some(Span::from_seconds(60))));
}

#[test]
fn a_source_counts_only_for_pairs_that_it_serves() {
    let with = |pairs: &[&str], sources: &[&str]| {
        let resolved = resolve(|config| {
            config.feed.pairs = pairs.iter().map(|pair| pair.parse().unwrap()).collect();
            config.feed.sources = sources.iter().map(|name| name.parse().unwrap()).collect();
        });
        resolved.map(|settings| settings.members.len())
    };
    assert_eq!(with(&["BTC-USDT"], &["kraken", "binance"]).unwrap(), 2);
    let refused = with(&["BTC-USDT", "BTC-USD"], &["kraken", "binance"]).unwrap_err();
    assert!(
        matches!(refused, ConfigError::UnreachableQuorum { pair, count: 1, .. } if pair.quote() == "USD")
    );
    let refused = with(&["BTC-USD"], &["kraken", "coinbase", "binance"]).unwrap_err();
    assert!(
        matches!(&refused, ConfigError::Source(SourceError::NothingServed { name, reason })
            if name.as_str() == "binance" && reason.contains("BTC-USDT")),
        "{refused}"
    );
}

#[test]
fn invalid_settings_are_refused_with_their_name() {
    let error = |change: fn(&mut PollerConfig)| resolve(change).err().map(|error| error.to_string());
    for (key, change) in [
        ("feed.pairs", (|config| config.feed.pairs.clear()) as fn(&mut PollerConfig)),
        ("feed.pairs", |config| config.feed.pairs = vec!["A-B".parse().unwrap(); 2]),
        ("feed.sources", |config| config.feed.sources.clear()),
        ("feed.sources", |config| config.feed.sources.push("kraken".parse().unwrap())),
        ("feed.sources", |config| config.feed.sources.push("nowhere".parse().unwrap())),
        ("feed.sources", |config| config.feed.sources.push("simulated_a".parse().unwrap())),
        ("aggregate.min_sources", |config| config.aggregate.min_sources = "4".parse().unwrap()),
        ("aggregate.max_deviation", |config| config.aggregate.max_deviation = "0".parse().unwrap()),
        ("sources.kraken: ", |config| {
            config.feed.interval = "100ms".parse().unwrap();
        }),
        ("sources.kraken.key: ", |config| {
            config.sources.by_name.insert("kraken".into(), keyed("", "CG-abc", None));
        }),
        ("sources.coingecko.url: ", |config| {
            config.feed.sources.push("coingecko".parse().unwrap());
            config
                .sources
                .by_name
                .insert("coingecko".into(), keyed("http://coingecko.example", "CG-abc", None));
        }),
        ("sources.coingecko.plan: ", |config| {
            config.feed.sources.push("coingecko".parse().unwrap());
            config.sources.by_name.insert("coingecko".into(), keyed("", "", Some(Plan::Pro)));
        }),
        ("sources.kraken.url: ", |config| {
            config.sources.by_name.insert("kraken".into(), keyed("https://me:hunter2@host", "", None));
        }),
        ("sources.kraken.url", |config| {
            config.sources.by_name.insert("kraken".into(), keyed("https://host/?key=hunter2", "", None));
        }),
        ("sources.kraken.url", |config| {
            config
                .sources
                .by_name
                .insert("kraken".into(), SourceConfig { url: "nowhere".into(), ..Default::default() });
        }),
    ] {
        let message = error(change).unwrap_or_default();
        assert!(message.starts_with(key), "{key}: {message}");
        assert!(!message.contains("hunter2") && !message.contains("CG-"), "{message}");
    }
}

#[test]
fn the_plan_of_a_key_decides_the_address_and_the_limit() {
    let about = |url: &str, key: &str, plan: Option<Plan>| {
        let settings = resolve(|config| {
            config.feed.sources.push("coingecko".parse().unwrap());
            config.sources.by_name.insert("coingecko".into(), keyed(url, key, plan));
        });
        settings.unwrap().members.last().unwrap().source.about()
    };
    let (public, demo) = (about("", "", None), about("", "CG-abc", None));
    let (pro, own) = (about("", "CG-abc", Some(Plan::Pro)), about("http://[::1]:1/", "CG-abc", None));
    assert_eq!([public.has_key, demo.has_key, pro.has_key, own.has_key], [false, true, true, true]);
    assert_eq!(public.address, demo.address);
    assert_eq!(pro.address, "https://pro-api.coingecko.com");
    let limit = |about: &source::About| about.limit.map(|limit| limit.per_minute().to_string());
    assert_eq!([limit(&public), limit(&demo)], [Some("10".to_owned()), Some("100".to_owned())]);
    assert_eq!((limit(&pro), limit(&own)), (None, None));
}

#[test]
fn a_source_is_asked_for_single_pairs_only_as_long_as_its_limit_allows_it() {
    let check = |pairs: u32, interval: &str, url: &str| {
        resolve(|config| {
            config.feed.interval = interval.parse().unwrap();
            config.feed.pairs = (0..pairs).map(|n| format!("A{n}-USD").parse().unwrap()).collect();
            config.feed.sources = vec!["coinbase".parse().unwrap(), "bitstamp".parse().unwrap()];
            config.sources.by_name.insert("coinbase".into(), keyed(url, "", None));
        })
    };
    // At most 34 products are asked for alone in ten seconds, and 15 in a second. One request returns all.
    let requests = |pairs, interval| check(pairs, interval, "").unwrap().members[0].source.about().requests;
    assert_eq!((requests(34, "10s"), requests(35, "10s"), requests(50, "10s")), (34, 1, 1));
    assert_eq!((requests(10, "1s"), requests(11, "1s")), (10, 1));
    assert!(check(50, "1s", "https://ours.example").is_ok(), "the limit only holds at the public address");
}

#[test]
fn a_monthly_limit_is_refused_for_a_source_that_is_always_asked() {
    let check = |role: Option<Role>, interval: &str| {
        resolve(|config| {
            config.feed.interval = interval.parse().unwrap();
            config.feed.sources.push("coingecko".parse().unwrap());
            let own = SourceConfig { role, ..keyed("", "CG-abc", None) };
            config.sources.by_name.insert("coingecko".into(), own);
        })
    };
    let refused = check(Some(Role::Primary), "10s").err().unwrap();
    assert!(matches!(refused, ConfigError::Source(SourceError::OverMonthlyLimit { .. })), "{refused}");
    for number in [" 267840 ", " 9900 ", "(at least 271s)"] {
        assert!(refused.to_string().contains(number), "{number}: {refused}");
    }
    assert!(check(Some(Role::Primary), "5m").is_ok());
    assert!(check(None, "10s").is_ok(), "a fallback is not asked in every slot");
}

#[test]
fn a_replayed_venue_has_the_role_that_is_set_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("any.csv");
    std::fs::write(&path, "ts_ms,price\n1677888059999,1\n").unwrap();
    let settings = resolve(|config| {
        let file = |venue: &str| format!("{venue}:BTC-USD:{}", path.display()).parse().unwrap();
        config.feed.pairs = vec!["BTC-USD".parse().unwrap()];
        config.feed.sources = vec!["replay".parse().unwrap()];
        config.replay.files = ["bitstamp", "coingecko", "gemini", "kraken"].map(file).to_vec();
        let mut set = |venue: &str, role, max_quote_age| {
            config
                .sources
                .by_name
                .insert(venue.into(), SourceConfig { role, max_quote_age, ..Default::default() })
        };
        set("gemini", Some(Role::Shadow), None);
        set("kraken", Some(Role::Fallback), Some(Span::from_seconds(90)));
    });
    let parts: Vec<_> =
        settings.unwrap().members.iter().map(|member| (member.role, member.max_age)).collect();
    let (three_minutes, ninety) = (Some(Span::from_seconds(180)), Some(Span::from_seconds(90)));
    let expected = [
        (Role::Primary, None),
        (Role::Fallback, three_minutes),
        (Role::Shadow, None),
        (Role::Fallback, ninety),
    ];
    assert_eq!(parts, expected);
}
