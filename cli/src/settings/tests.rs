use super::*;

fn with(overrides: &[(&str, &str)], environment: &[(&str, &str)], mode: Mode) -> Result<Settings> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let owned =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    load(SettingsLayers { file: None, overrides: owned(overrides), environment: owned(environment) }, mode)
}

fn with_file(text: &str) -> Result<Settings> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tickwell.toml");
    std::fs::write(&path, text).unwrap();
    load(SettingsLayers { file: Some(path), ..SettingsLayers::default() }, Mode::Run)
}

fn message(result: Result<Settings>) -> String {
    format!("{:#}", result.expect_err("the settings are wrong"))
}

#[test]
fn the_example_has_every_setting_at_its_default() {
    let table: toml::Table = toml::from_str(EXAMPLE).unwrap();
    let written: std::collections::BTreeSet<String> = known::keys_of(&table).into_iter().collect();
    let defaults = toml::Table::try_from(Settings::default()).unwrap();
    let every: std::collections::BTreeSet<String> = known::keys_of(&defaults).into_iter().collect();
    let is_of_one = |key: &String| {
        key.matches('.').count() == 2 && (key.starts_with("sources.") || key.starts_with("pairs."))
    };
    assert_eq!(
        written.iter().filter(|key| !is_of_one(key)).cloned().collect::<std::collections::BTreeSet<_>>(),
        every
    );

    let mut read = with_file(EXAMPLE).unwrap();
    assert_eq!(
        read.sources.by_name.remove("kraken").and_then(|source| source.role),
        Some(poller::config::Role::Primary)
    );
    assert!(read.sources.by_name.remove("coingecko").is_some());
    let pair = read.pairs.remove("BTC-USD").unwrap();
    assert_eq!(pair.sources, read.feed.sources);
    assert_eq!(pair.max_deviation, Some(read.aggregate.max_deviation));
    assert_eq!(read.to_toml().unwrap(), Settings::default().to_toml().unwrap());
}

#[test]
fn flags_override_environment_over_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("any.toml");
    std::fs::write(&path, "[feed]\ninterval = \"2s\"\npairs = [\"A-B\"]\n[bus]\nstream = \"FILE\"\n")
        .unwrap();
    let layers = SettingsLayers {
        file: Some(path),
        overrides: vec![("feed.interval".into(), "4s".into())],
        environment: vec![
            ("TICKWELL__FEED__INTERVAL".into(), "3s".into()),
            ("TICKWELL__FEED__PAIRS".into(), "BTC-USD, eth-usd".into()),
            ("UNRELATED".into(), "x".into()),
        ],
    };
    let settings = load(layers, Mode::Run).unwrap();
    assert_eq!(settings.feed.interval.to_string(), "4s");
    assert_eq!(
        settings.feed.pairs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["BTC-USD", "ETH-USD"]
    );
    assert_eq!(settings.bus.stream, "FILE");
    assert_eq!(settings.bus.subject_prefix, "ticks");
}

#[test]
fn a_pair_may_have_settings_of_its_own() {
    let settings = with(
        &[("pairs.ETH-USD.max_deviation", "0.5%"), ("pairs.ETH-USD.sources", "kraken,bitstamp")],
        &[("TICKWELL__PAIRS__ETH-USD__MIN_SOURCES", "1")],
        Mode::Run,
    );
    let feed = settings.unwrap().poller().resolve().unwrap();
    let policy = |pair: &str| feed.pairs[&pair.parse().unwrap()];
    assert_eq!(policy("ETH-USD").max_deviation.to_string(), "0.005");
    assert_eq!((policy("ETH-USD").min_sources, policy("BTC-USD").min_sources), (1, 2));
    let asked =
        |pair: &str| feed.members.iter().filter(|member| member.serves(pair.parse().unwrap())).count();
    assert_eq!((asked("ETH-USD"), asked("BTC-USD")), (2, 3));

    for (key, value, problem) in [
        ("pairs.SOL-USD.min_sources", "1", "pairs.SOL-USD: there is no such pair in feed.pairs"),
        ("pairs.ETH-USD.sources", "kraken,gemini", "pairs.ETH-USD.sources: gemini is not in feed.sources"),
        (
            "pairs.ETH-USD.sources",
            "kraken",
            "aggregate.min_sources: 2 sources must agree on ETH-USD, but only 1",
        ),
        ("pairs.ETH-USD.max_deviation", "60%", "pairs.ETH-USD.max_deviation: must be"),
        ("pairs.ETH-USD.max_deviation", "x", "--set: pairs.ETH-USD.max_deviation: "),
        ("pairs.ETH-USD.interval", "1s", "there is no setting `pairs.ETH-USD.interval`"),
    ] {
        let refused = message(with(&[(key, value)], &[], Mode::Run));
        assert!(refused.contains(problem), "{key}={value}: {refused}");
    }
    let table = "[pairs.\"ETH-USD\"]\nmax_deviation = \"1%\"\nmin_sources = 1\n";
    let feed = with_file(table).unwrap().poller().resolve().unwrap();
    assert_eq!(feed.pairs[&"ETH-USD".parse().unwrap()].max_deviation.to_string(), "0.01");
}

#[test]
fn an_unknown_setting_is_refused_with_its_name_and_layer() {
    let file = message(with_file("[feed]\nintervall = \"2s\"\n"));
    assert!(file.contains("tickwell.toml") && file.contains("`feed.intervall`"), "{file}");
    assert!(file.contains("did you mean `feed.interval`"), "{file}");
    let environment = message(with(&[], &[("TICKWELL__API__PORT", "1")], Mode::Run));
    assert!(
        environment.contains("TICKWELL__API__PORT") && environment.contains("`api.port`"),
        "{environment}"
    );
    assert!(message(with_file("[sources.nowhere]\nurl = \"\"\n")).contains("sources.nowhere.url"));
    assert!(message(with_file("[sources.replay]\nrole = \"shadow\"\n")).contains("`sources.replay.role`"));
    assert!(message(with(&[("feed.speed", "1")], &[], Mode::Run)).contains("--set: there is no setting"));
    assert!(parse_override("feed.speed").is_err());
}

#[test]
fn an_invalid_value_is_refused_with_its_name_and_layer() {
    let file = message(with_file("[feed]\ninterval = \"fast\"\n"));
    assert!(file.contains("tickwell.toml: feed.interval: `fast`"), "{file}");
    assert!(message(with_file("[aggregate]\nmin_sources = true\n")).contains("aggregate.min_sources"));
    assert!(message(with_file("[aggregat]\n")).contains("`aggregat`"));
    let environment = message(with(&[], &[("TICKWELL__AGGREGATE__MIN_SOURCES", "many")], Mode::Run));
    assert!(environment.contains("TICKWELL__AGGREGATE__MIN_SOURCES: aggregate.min_sources"), "{environment}");
    for (key, value) in [
        ("feed.pairs", "BTCUSD"),
        ("aggregate.max_deviation", "lots"),
        ("sources.kraken.role", "boss"),
        ("api.rate_limit", "fast"),
        ("api.cors_origins", "https://*.example.org"),
        ("api.trusted_proxies", "10.0.0.0/33"),
        ("api.listen", "nonsense"),
        ("admin.listen", "host:port"),
        ("admin.listen", "127.0.0.1:+80"),
        ("admin.listen", "127.0.0.300:80"),
        ("api.listen", "::1:8080"),
        ("aggregate.min_sources", "true"),
        ("aggregate.min_sources", "0"),
        ("log.format", "xml"),
        ("store.retain_ticks", "1y"),
    ] {
        let message = message(with(&[(key, value)], &[], Mode::Run));
        assert!(message.contains(&format!("--set: {key}: `{value}`")), "{message}");
    }
    let key = message(with(&[("api.keys", "team=secret")], &[], Mode::Run));
    assert!(key.starts_with("--set: api.keys: ") && !key.contains("secret"), "{key}");
    // The digest of the empty string, which `printf %s "$KEY" | sha256sum` prints if the variable is not set.
    let empty = "team=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert!(
        message(with(&[("api.keys", empty)], &[], Mode::Run)).starts_with("--set: api.keys: the key team")
    );
    let lists = with(
        &[],
        &[("TICKWELL__API__CORS_ORIGINS", ""), ("TICKWELL__API__TRUSTED_PROXIES", "::1, 10.0.0.0/8")],
        Mode::Run,
    );
    let lists = lists.unwrap().api;
    assert_eq!((lists.cors_origins.len(), lists.trusted_proxies.len()), (0, 2));
    assert!(message(with_file("[feed\n")).contains("not valid TOML"));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    assert!(message(with(&[], &[], Mode::Api)).starts_with("bus.url"));
    assert!(message(with(&[], &[], Mode::Poller)).starts_with("bus.url"));
    assert!(message(with(&[("feed.interval", "1m")], &[], Mode::Run)).starts_with("windows.stale_after"));
    assert!(
        message(with(&[("aggregate.min_sources", "4")], &[], Mode::Run)).starts_with("aggregate.min_sources")
    );
    for (key, value) in [
        ("log.level", "a=b=c"),
        ("log.level", "loud"),
        // These were accepted: the first one logged everything of the poller, and the second one nothing at all.
        ("log.level", "info,poller="),
        ("log.level", "=debug"),
        ("log.level", "info,poller=verbose"),
        ("admin.listen", "localhost:8080"),
        ("admin.listen", "0.0.0.0:8080"),
        (
            "api.keys",
            "a=0123456789012345678901234567890123456789012345678901234567890123,b=0123456789012345678901234567890123456789012345678901234567890123",
        ),
        ("bus.url", "http://somewhere"),
        ("bus.stream", "a.b c"),
        ("bus.subject_prefix", "a b"),
        ("bus.url", "nats://me:p%zz@host"),
        ("bus.credentials_file", "/nowhere/at.all"),
        ("windows.keep", "1s"),
        ("store.retain_ticks", "1d"),
        ("store.retain_ticks", "3d"),
        ("store.retain_quotes", "24h"),
        ("store.path", ""),
        ("api.listen", ""),
        ("admin.listen", "127.0.0.1:8080"),
    ] {
        let message = message(with(&[(key, value)], &[], Mode::Run));
        assert!(message.starts_with(key), "{key}={value}: {message}");
    }
    let listening = |mode, address| with(&[("api.listen", address), ("admin.listen", address)], &[], mode);
    let message = message(listening(Mode::Run, "[::]:9090"));
    assert!(message.contains("api.listen") && message.contains("admin.listen"), "{message}");
    assert!(listening(Mode::Run, "127.0.0.1:0").is_ok(), "each gets its own free port");
}

#[test]
fn a_demo_simulates_prices_and_stores_them_separately() {
    let refused = message(with(&[("bus.url", "nats://somewhere")], &[], Mode::Demo));
    assert!(
        refused.starts_with("bus.url: a demo") && refused.contains("feed.sources=simulated_a"),
        "{refused}"
    );
    let ignored = [("TICKWELL__BUS__URL", "nats://somewhere")];
    let demo = with(&[("bus.url", "")], &ignored, Mode::Demo).unwrap();
    assert_eq!(demo.store.path, PathBuf::from("./data/demo"));
    assert!(demo.bus.url.is_empty());
    assert_eq!(demo.poller().resolve().unwrap().origin, common::domain::Origin::Simulated);
    assert_eq!(demo.feed.interval.to_string(), "1s");
    assert!(demo.api.cors_origins.iter().all(api::config::WebOrigin::is_any));
    assert_eq!(demo.api.cors_origins.len(), 1);
    let own_only = with(&[("api.cors_origins", "")], &[], Mode::Demo).unwrap();
    assert!(own_only.api.cors_origins.is_empty());
    assert_eq!(with(&[("feed.interval", "5s")], &[], Mode::Demo).unwrap().feed.interval.to_string(), "5s");
}

#[test]
fn secrets_are_not_shown() {
    let settings = with(&[("bus.url", "nats://me:secret@host:4222")], &[], Mode::Run).unwrap();
    assert!(!settings.to_toml().unwrap().contains("secret"));
    for layer in [
        with(&[("sources.coingecko.key", "CG-secret")], &[], Mode::Run),
        with(&[], &[("TICKWELL__SOURCES__COINGECKO__KEY", "CG-secret")], Mode::Run),
        with_file("[sources.coingecko]\nkey = \"CG-secret\"\n"),
    ] {
        let settings = layer.unwrap();
        let shown = settings.to_toml().unwrap();
        assert!(shown.contains("key = \"[redacted]\"") && !shown.contains("secret"), "{shown}");
        let debug = format!("{settings:?}");
        assert!(!debug.contains("secret"), "{debug}");
    }
}

#[test]
fn errors_do_not_contain_keys() {
    let both = [("sources.coingecko.key", "CG-secret"), ("sources.coingecko.key_file", "/nowhere/at.all")];
    let asked = ("feed.sources", "kraken,coinbase,coingecko");
    let with_asked = |more: &[(&str, &str)]| with(&[&[asked], more].concat(), &[], Mode::Run);
    for (result, expected) in [
        (with_asked(&both), "sources.coingecko.key and key_file"),
        (with_asked(&both[1..]), "sources.coingecko.key_file: cannot read /nowhere/at.all"),
        (with_asked(&[("sources.coingecko.key", "CG-secret\n")]), "sources.coingecko.key: "),
        (with_asked(&[("sources.coingecko.key", "[redacted]")]), "sources.coingecko.key: [redacted]"),
        (with_asked(&[("sources.coingecko.keyy", "CG-secret")]), "`sources.coingecko.keyy`"),
        (with_asked(&[("sources.kraken.key", "CG-secret")]), "sources.kraken.key: "),
        (with(&[], &[("TICKWELL__SOURCES__COINGECKO__KEYY", "CG-secret")], Mode::Run), "COINGECKO__KEYY"),
        (with_file("[sources.coingecko]\nkey = \"CG-secret\n"), "line 2"),
        (with_file("[sources.coingecko]\nkey = \"CG-secret\" 1\n"), "line 2"),
        (with_file("[sources.coingecko]\nkey = [\"CG-secret\"]\n"), "sources.coingecko.key"),
        (with_file("[sources.coingecko]\nkey = { value = \"CG-secret\" }\n"), "sources.coingecko.key"),
    ] {
        let message = message(result);
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(!message.contains("secret"), "{message}");
    }
}
