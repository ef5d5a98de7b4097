//! What was probably meant by a path, a pair or a word that the server does not know.

use common::{
    coins::COINS,
    domain::{Pair, Span, nearest},
};

/// The prefix of the routes of the API.
const API: &str = "/v1";

/// The prefix of the routes for prices.
const PRICES: &str = "/v1/prices";

/// The prefix of CoinGecko's dialect.
const COINGECKO: &str = "/api/v3";

/// Names that other servers have for `/livez` and `/readyz`.
const HEALTH: [&str; 8] = ["health", "healthz", "live", "ready", "liveness", "readiness", "ping", "status"];

/// The maximum number of pairs that are suggested.
const MAX_PAIRS: usize = 3;

/// A hint for a path that is not a route. `is_route` says whether another path is one.
pub(super) fn of_path(path: &str, pairs: &[Pair], is_route: impl Fn(&str) -> bool) -> Option<String> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let is_known = |pair: &str| pair.parse().is_ok_and(|pair: Pair| pairs.contains(&pair));
    let candidate = match parts.as_slice() {
        ["v1", name] | [name] if HEALTH.contains(name) => {
            return Some(
                "/livez says whether the process is alive, and /readyz whether it is ready".to_owned(),
            );
        }
        ["api", "v3", ..] => return None,
        ["v1", "prices", base, quote, rest @ ..] if is_known(&format!("{base}-{quote}")) => {
            [&[PRICES, &format!("{base}-{quote}")][..], rest].concat().join("/")
        }
        ["v1", list, pair] => format!("{PRICES}/{pair}/{list}"),
        ["v1", ..] => return None,
        _ => match path.strip_prefix(COINGECKO) {
            Some(rest) if is_route(&format!("{COINGECKO}/{rest}")) => {
                return Some(format!(
                    "did you mean `{COINGECKO}/{rest}`? The base address of the client must end with a slash, \
                     as in http://HOST{COINGECKO}/"
                ));
            }
            _ => format!("{API}{path}"),
        },
    };
    is_route(&candidate).then(|| format!("did you mean `{candidate}`?"))
}

/// A hint for a text that is not a pair: pairs of the log without their separator, or with the name of the base asset.
pub(super) fn of_pair(text: &str, pairs: &[Pair]) -> Option<String> {
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let named = COINS
        .iter()
        .find(|coin| coin.id.eq_ignore_ascii_case(text) || coin.name.eq_ignore_ascii_case(text))
        .map_or(letters.as_str(), |coin| coin.asset);
    let is_meant = |pair: &&Pair| {
        format!("{}{}", pair.base(), pair.quote()).eq_ignore_ascii_case(&letters)
            || pair.base().eq_ignore_ascii_case(named)
    };
    let meant: Vec<String> =
        pairs.iter().filter(is_meant).take(MAX_PAIRS).map(|pair| format!("`{pair}`")).collect();
    (!meant.is_empty()).then(|| format!("did you mean {}?", meant.join(" or ")))
}

/// The word of a list that was meant. If the words are durations, a number without a unit means minutes or seconds.
pub(super) fn of_word<'a>(words: &'a [String], given: &str) -> Option<&'a str> {
    let words = || words.iter().map(String::as_str);
    if !given.bytes().all(|byte| byte.is_ascii_digit()) {
        return nearest(words(), given);
    }
    let spans = ["m", "s"].map(|unit| format!("{given}{unit}").parse::<Span>().ok());
    let is = |word: &str, span: &Option<Span>| span.is_some() && word.parse().ok() == *span;
    spans.iter().find_map(|span| words().find(|word| is(word, span)))
}
