//! Explanations of failures for operators.

use common::domain::Failure;

/// What a failure means, and what to do about it.
pub fn meaning(failure: Failure) -> &'static str {
    match failure {
        Failure::BackingOff => "not asked: it is resting after failures, or until the time that it announced",
        Failure::Timeout => "no complete response in time: the source is slow, or the network drops packets",
        Failure::Unreachable => "cannot connect over HTTP: check the network, the firewall and the URL",
        Failure::Dns => "the host name was not found: check the DNS resolver and the URL",
        Failure::Tls => {
            "its TLS certificate was not accepted: check this machine's clock and root certificates, \
             and any proxy in between"
        }
        Failure::Redirect => "it redirects to another address, and redirects are not followed: check the URL",
        Failure::Http403 => {
            "it refuses this IP address or key: it may block the network that this machine is in"
        }
        Failure::Http418 => {
            "it has banned this IP address for sending too many requests: wait, and use a longer \
             feed.interval"
        }
        Failure::Http429 | Failure::RateLimited => {
            "too many requests: use a longer feed.interval, or find out what else sends requests from this \
             IP address"
        }
        Failure::Http451 => "it is not available in the place where this machine is: use another source",
        Failure::Http4xx => "it rejected the request: it may not have one of the pairs",
        Failure::Http5xx => "it has an internal error: wait",
        Failure::TooLarge => "its response is larger than any valid one: check the URL",
        Failure::Malformed => {
            "its response does not have the documented format: check what is behind the URL"
        }
        Failure::Refused => "it reported an error: it may not have one of the pairs, or not accept the key",
        Failure::Unlisted => {
            "not asked: its list of markets does not contain the pair; it returns when the source lists it"
        }
        Failure::Halted => "it has halted trading of the pair",
        Failure::Unavailable => "it says that its service is unavailable: wait",
        Failure::LockedOut => {
            "it has locked this IP address out for a while: wait, and find out what else sends requests from it"
        }
        Failure::Challenge => {
            "a page that checks for browsers came instead of an answer: its content delivery network distrusts \
             this IP address; use another one, or another source"
        }
        Failure::Missing => "its response does not contain the pair: it may not trade it",
        Failure::Invalid => {
            "its price or timestamp is invalid: zero, negative, or with more digits than a price can hold"
        }
    }
}
