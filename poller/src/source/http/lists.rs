//! Loads an exchange's list of markets, rarely and in the background.
//!
//! If a list cannot be loaded, the source is asked for the same pairs as before, and the list is requested again later.

use std::{sync::Arc, time::Duration};

use common::domain::{Failure, Pair, Slot, SourceName};
use tokio::time::{Instant, sleep};

use super::{Failed, HttpSource, lock, read};
use crate::source::{
    limit::Limit,
    market::{MarketList, Table},
    meaning,
    patience::doubled,
};

/// How long a list is used at most if a pair is missing or halted, so that the pair does not wait long once it is traded.
const INCOMPLETE_FOR: Duration = Duration::from_secs(1_800);

/// How long to wait after a list could not be loaded. Each failure in a row doubles the time, up to the longest.
const FAILED_FOR: Duration = Duration::from_secs(600);
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3_600);

/// How long a list may take. Lists have up to several megabytes.
const MAX_TIME: Duration = Duration::from_secs(60);

/// The largest list that is read, after decompression. Binance's has about 5 MB.
const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;

/// After these failures, the source must not be asked for prices either.
pub(super) const TOO_MANY_REQUESTS: [Failure; 4] =
    [Failure::Http429, Failure::Http418, Failure::RateLimited, Failure::LockedOut];

/// When an exchange's list is loaded.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// When the list is due. None means at once.
    due: Option<Instant>,
    /// Why the list could not be loaded the last time, and how many times in a row.
    pub(super) failure: Option<Failure>,
    failures: u32,
}

impl HttpSource {
    /// Loads the list if it is due and the source may be asked.
    pub(super) async fn refresh_list(&self, slot: Slot) -> Result<(), Failure> {
        let Some(path) = self.exchange.list_path() else { return Ok(()) };
        let began = Instant::now();
        if lock(&self.lists).due.is_some_and(|due| began < due) || !lock(&self.backoff).may_ask(slot, began) {
            return Ok(());
        }
        // The requests of a slot may be in progress, so this one waits as long as the request limit asks for.
        sleep(self.pause_between_requests()).await;
        if lock(&self.backoff).rest_left(Instant::now()).is_some() {
            return Ok(());
        }
        let loaded = self.load_list(path, slot).await;
        let next = match &loaded {
            Ok(list) => self.use_list(list),
            Err(failure) => self.list_failed(*failure, began),
        };
        lock(&self.lists).due = Some(Instant::now() + next);
        loaded.map(|_| ())
    }

    async fn load_list(&self, path: &str, slot: Slot) -> Result<MarketList, Failure> {
        let deadline = Instant::now() + MAX_TIME;
        let response = self.client.get(self.url(path)?, self.key.clone(), MAX_LIST_BYTES, deadline).await?;
        read(&response, |body| self.exchange.read_list(body)).map_err(|failure| {
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
        let table = Arc::new(Table::listed(&self.pairs, list, &self.by_rules));
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
        let mut lists = lock(&self.lists);
        if lists.failure.take().is_some() {
            tracing::info!(
                event = "market_list_loaded", source = %self.name, "the source's list of markets can be loaded again"
            );
        }
        lists.failures = 0;
        let usual = self.exchange.list_is_used_for();
        if table.left_out.is_empty() { usual } else { usual.min(INCOMPLETE_FOR) }
    }

    /// Returns after how long the list is requested again.
    fn list_failed(&self, failure: Failure, began: Instant) -> Duration {
        let mut lists = lock(&self.lists);
        let wait = doubled(FAILED_FOR, lists.failures).min(LONGEST_WAIT);
        lists.failures = lists.failures.saturating_add(1);
        if lists.failure.replace(failure) != Some(failure) {
            let seconds = wait.as_secs();
            tracing::warn!(
                event = "market_list_failed", source = %self.name, reason = %failure,
                meaning = meaning(failure), seconds,
                "the source's list of markets cannot be loaded; it is requested again after this many seconds, and until \
                 then, the source is asked for the same pairs as before"
            );
        }
        drop(lists);
        self.report_rest(began);
        wait
    }

    fn pause_between_requests(&self) -> Duration {
        let pause = |limit: Limit| limit.span.duration() / limit.requests.max(1);
        self.about.limit.map(pause).unwrap_or_default()
    }
}

fn log_left_out(source: SourceName, pair: Pair, reason: Failure) {
    if reason == Failure::Halted {
        tracing::warn!(
            event = "market_left_out", %source, %pair, %reason,
            "the source's list of markets says that the pair is not traded at the moment, so the source is not asked for it"
        );
    } else {
        tracing::warn!(
            event = "market_left_out", %source, %pair, %reason,
            "the source's list of markets does not contain the pair, so the source is not asked for it"
        );
    }
}

/// Logs that the source refused the pair. Its list of markets contains the pair, or could not be loaded.
pub(super) fn log_refused(source: SourceName, pair: Pair) {
    let reason = Failure::Unlisted;
    tracing::warn!(
        event = "market_left_out", %source, %pair, %reason,
        "the source refused the symbol of the pair; it is retried alone, after 1, 2, 4 … slots and at most ten minutes"
    );
}

pub(super) fn log_available(source: SourceName, pair: Pair) {
    tracing::info!(
        event = "market_available", %source, %pair, "the source has the pair and trades it, so it is asked for it again"
    );
}
