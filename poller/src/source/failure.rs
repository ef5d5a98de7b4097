//! Explanations of failures for operators.

use common::domain::Failure;

/// What a failure means, and what to do about it.
pub fn meaning(failure: Failure) -> &'static str {
    match failure {
        Failure::BackingOff => {
            "the source was not asked, because of earlier failures or because it asked to wait: see the earlier events of \
             the source in the poller's log"
        }
        Failure::Timeout => {
            "no complete response in time: the source is slow, or the network drops packets; check the network, or use a \
             longer feed.interval"
        }
        Failure::Unreachable => {
            "cannot connect over HTTP: check the network, the firewall and the URL; behind a proxy, check sources.proxy \
             (or the environment variable HTTPS_PROXY) with its user and password"
        }
        Failure::Dns => {
            "the host name was not found: check the DNS resolver and the URL; behind a proxy, check sources.proxy (or the \
             environment variable HTTPS_PROXY)"
        }
        Failure::Tls => {
            "the source's TLS certificate was not accepted: check this machine's clock and root certificates, \
             and any proxy in between"
        }
        Failure::Redirect => {
            "the source redirects to another address, and redirects are not followed: check the URL"
        }
        Failure::Http403 => {
            "the source refuses this IP address, key or client: it may block the network that this machine is in; use \
             another network or source, and set sources.contact"
        }
        Failure::Http418 => {
            "the source has banned this IP address for sending too many requests: wait, and use a longer \
             feed.interval"
        }
        Failure::Http429 | Failure::RateLimited => {
            "too many requests: use a longer feed.interval, or find out what else sends requests from this \
             IP address"
        }
        Failure::Http451 => {
            "the source is not available in the place where this machine is: use another source"
        }
        Failure::Http4xx => {
            "the source rejected the request: check the URL and the key, and whether the source has the pairs"
        }
        Failure::Http5xx => "the source has an internal error: wait until it recovers",
        Failure::TooLarge => "the response is larger than any valid one: check the URL",
        Failure::Malformed => {
            "the response does not have the documented format: check which server the URL leads to"
        }
        Failure::Refused => {
            "the source reported an error: check the key and its plan, and whether the source has the pairs"
        }
        Failure::Unlisted => {
            "the source does not have the pair: its list of markets does not contain it, or it refused the symbol. It is \
             asked again when it lists the pair; if it never will, list the pair's other sources in pairs.<PAIR>.sources"
        }
        Failure::Halted => {
            "the source has halted trading of the pair: wait, or list the pair's other sources in pairs.<PAIR>.sources"
        }
        Failure::Unavailable => "the source reported that its service is unavailable: wait until it recovers",
        Failure::LockedOut => {
            "the source has locked this IP address out for a while: wait, and find out what else sends requests \
             from this IP address"
        }
        Failure::Challenge => {
            "instead of a response, there was a page that checks for browsers: the source's content delivery \
             network does not trust this IP address; use another one, or another source"
        }
        Failure::Missing => {
            "the response does not contain the pair: the source may not trade it; if so, list the pair's other sources in \
             pairs.<PAIR>.sources"
        }
        Failure::Invalid => {
            "the price or timestamp is invalid: zero, negative, or with more digits than a price can hold; if that does \
             not pass, list the pair's other sources in pairs.<PAIR>.sources"
        }
    }
}
