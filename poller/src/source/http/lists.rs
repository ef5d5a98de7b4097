//! Loads an exchange's list of markets, rarely and in the background.
//!
//! A list that cannot be loaded changes nothing: the pairs stay as they were, and the list is requested again later.

use std::{sync::Arc, time::Duration};

use common::domain::{Failure, Pair, Slot, SourceName};
use tokio::time::{Instant, sleep};

use super::{Failed, HttpSource, lock, read};
use crate::source::{
    limit::Limit,
    market::{MarketList, Table},
};

/// How long a list is used if it contains all pairs.
const COMPLETE_FOR: Duration = Duration::from_secs(6 * 3_600);

/// How long a list is used if a pair is missing or halted, so that the pair does not wait long once it is traded.
const INCOMPLETE_FOR: Duration = Duration::from_secs(1_800);

/// How long to wait after a list could not be loaded.
const FAILED_FOR: Duration = Duration::from_secs(600);

/// How long a list may take. Lists have up to several megabytes.
const MAX_TIME: Duration = Duration::from_secs(30);

/// The largest list that is read, after decompression. Binance's has about 5 MB.
const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;

/// After these failures, the source must not be asked for prices either.
const TOO_MANY_REQUESTS: [Failure; 4] =
    [Failure::Http429, Failure::Http418, Failure::RateLimited, Failure::LockedOut];

/// When an exchange's list is loaded.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// When the list is due. None means at once.
    due: Option<Instant>,
    /// Whether the last attempt failed, so that only the first failure is logged.
    has_failed: bool,
}

impl HttpSource {
    /// Loads the list if it is due and the source may be asked.
    pub(super) async fn refresh_list(&self, slot: Slot) {
        let Some(path) = self.exchange.list_path() else { return };
        let now = Instant::now();
        if lock(&self.lists).due.is_some_and(|due| now < due) || !lock(&self.backoff).may_ask(slot, now) {
            return;
        }
        // The list has its turn after the requests of a slot, which may be in progress.
        sleep(self.pause_between_requests()).await;
        let loaded = self.load_list(path, slot).await;
        let next = match loaded {
            Ok(list) => self.use_list(&list),
            Err(failure) => self.list_failed(failure),
        };
        lock(&self.lists).due = Some(Instant::now() + next);
    }

    async fn load_list(&self, path: &str, slot: Slot) -> Result<MarketList, Failure> {
        let deadline = Instant::now() + MAX_TIME;
        let response = self.client.get(self.url(path)?, self.key.clone(), MAX_LIST_BYTES, deadline).await?;
        let read = read(&response, |body| {
            let body = std::str::from_utf8(body).map_err(|_| Failure::Malformed)?;
            match self.exchange.parse_error(body) {
                Some(error) => Err(error.failure),
                None => self.exchange.parse_list(body),
            }
        });
        read.map_err(|failure| {
            let (Failed { failure, .. }, reported) = self.describe(&response, failure);
            // Other failures may concern the list only.
            if TOO_MANY_REQUESTS.contains(&failure) {
                self.rest(&response, failure, reported, slot);
            }
            failure
        })
    }

    /// Asks for what the list contains from the next slot on. Returns how long the list is used.
    fn use_list(&self, list: &MarketList) -> Duration {
        let table = Arc::new(Table::listed(&self.pairs, list));
        let before = std::mem::replace(&mut *lock(&self.table), table.clone());
        // The list knows better whether the exchange has a pair, unless it said the same when the pair was refused.
        let refused = lock(&self.search).forget_if(|pair| {
            let market = |table: &Table| table.markets.iter().find(|market| market.pair == pair).cloned();
            market(&before) != market(&table)
        });
        for (pair, reason) in &table.left_out {
            let is_known = before.left_out.get(pair) == Some(reason)
                || (*reason == Failure::Unlisted && refused.contains(pair));
            if !is_known {
                log_left_out(self.name, *pair, *reason);
            }
        }
        for pair in before.left_out.keys().chain(&refused).filter(|pair| !table.left_out.contains_key(pair)) {
            log_available(self.name, *pair);
        }
        lock(&self.lists).has_failed = false;
        if table.left_out.is_empty() { COMPLETE_FOR } else { INCOMPLETE_FOR }
    }

    fn list_failed(&self, failure: Failure) -> Duration {
        if !std::mem::replace(&mut lock(&self.lists).has_failed, true) {
            tracing::warn!(
                event = "market_list_failed", source = %self.name, reason = %failure,
                "the source's list of markets cannot be loaded; the source is asked for the same pairs as before, and \
                 the list is requested again in ten minutes"
            );
        }
        FAILED_FOR
    }

    fn pause_between_requests(&self) -> Duration {
        let pause = |limit: Limit| limit.span.duration() / limit.requests.max(1);
        self.about.limit.map(pause).unwrap_or_default()
    }
}

fn log_left_out(source: SourceName, pair: Pair, reason: Failure) {
    tracing::warn!(
        event = "market_left_out", %source, %pair, %reason,
        "the source is not asked for the pair: its list of markets does not contain the pair (unlisted), or says that it \
         is not traded at the moment (halted)"
    );
}

/// Logs that the source refused the pair, which its list of markets contains or which it has no list for.
pub(super) fn log_refused(source: SourceName, pair: Pair) {
    let reason = Failure::Unlisted;
    tracing::warn!(
        event = "market_left_out", %source, %pair, %reason,
        "the source does not know the pair, so it is asked for the pair alone, and less and less often"
    );
}

pub(super) fn log_available(source: SourceName, pair: Pair) {
    tracing::info!(event = "market_available", %source, %pair, "the source is asked for the pair again");
}
