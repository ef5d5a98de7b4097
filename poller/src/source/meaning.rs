//! What a failure means for whoever runs Tickwell, in a sentence.

use common::domain::Failure;

/// What a failure means, and what to do about it.
pub fn meaning(failure: Failure) -> &'static str {
    match failure {
        Failure::BackingOff => "not asked: it rests after failures, or until the time it named",
        Failure::Timeout => "no full answer in time: it is slow, or something on the way drops packets",
        Failure::Unreachable => {
            "no connection that speaks HTTP: check the network, the firewall and the address"
        }
        Failure::Dns => "its name was not found: check the resolver and the address",
        Failure::Tls => {
            "its certificate is not acceptable: check this machine's clock and roots, and what is in between"
        }
        Failure::Redirect => "it answers from elsewhere, and redirects are not followed: check the address",
        Failure::Http403 => "it forbids this address or key: it may block the network this machine is in",
        Failure::Http418 => {
            "it has banned this address for asking too often: wait, and use a longer interval"
        }
        Failure::Http429 | Failure::RateLimited => {
            "it was asked too often: use a longer interval, or see who else asks from this address"
        }
        Failure::Http451 => "it does not serve the place this machine is in: use another source",
        Failure::Http4xx => "it does not understand the request: it may not have one of the pairs",
        Failure::Http5xx => "it has trouble of its own: wait",
        Failure::TooLarge => "its answer is larger than any honest one: check the address",
        Failure::Malformed => "its answer does not follow its contract: check what is at the address",
        Failure::Refused => {
            "it reported an error of its own: it may not have one of the pairs, or not the key"
        }
        Failure::Missing => "its answer does not have the pair: it may not trade it",
        Failure::Invalid => "its price or time is not one: zero, negative, or with more digits than are kept",
    }
}
