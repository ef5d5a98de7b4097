//! Asks for the candles of the past, page by page, at a pace that leaves room for the prices of the slots.

use std::{collections::BTreeMap, time::Duration};

use common::domain::{Failure, Pair, Slot};
use futures::future::join_all;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use super::{
    Failed, HttpSource, asking::request_span, client::MAX_PRICES_BYTES, lists::TOO_MANY_REQUESTS, lock, read,
};
use crate::source::{
    candle::{Candle, CandleRange, Candles, MINUTE, Past, Pasts, finished},
    market::Market,
};

/// The candles that the pages of a market have brought so far, or why there are none.
type Page = Result<Vec<Candle>, Failure>;

impl HttpSource {
    /// Asks for the candles of all markets. Of each market, the newest page is requested first, so that the newest part
    /// of the past is there if time runs out.
    pub(super) async fn ask_past(
        &self,
        pairs: &[Pair],
        range: CandleRange,
        slot: Slot,
        deadline: Instant,
    ) -> Pasts {
        let Some(candles) = self.exchange.candles() else { return Pasts::new() };
        let table = lock(&self.table).clone();
        let markets: Vec<&Market> =
            table.markets.iter().filter(|market| pairs.contains(&market.pair)).collect();
        let left_out = table.left_out.iter().filter(|(pair, _)| pairs.contains(pair));
        let mut pasts: Pasts = left_out.map(|(pair, failure)| (*pair, Past::failed(*failure))).collect();
        // The newest candle is never used, so one more is requested than the range has.
        let range = CandleRange { last: range.last.plus(MINUTE), ..range };
        let pages = match candles.has_pages() {
            true => range.pages(candles.most()),
            false => vec![range],
        };
        let (start, pause) = (Instant::now(), self.pause_between_candles());
        let requests = pages.iter().flat_map(|page| markets.iter().map(move |market| (*market, *page)));
        let asked = requests.zip(0_u32..).map(async |((market, page), number)| {
            let turn = start + pause.saturating_mul(number);
            (market, self.get_page(candles, market, page, slot, (turn, deadline)).await)
        });
        let mut found: BTreeMap<_, Vec<Page>> = BTreeMap::new();
        for (market, page) in join_all(asked).await {
            found.entry(market.pair).or_default().push(page);
        }
        pasts.extend(found.into_iter().map(|(pair, pages)| (pair, joined(pages, range))));
        pasts
    }

    async fn get_page(
        &self,
        candles: &dyn Candles,
        market: &Market,
        page: CandleRange,
        slot: Slot,
        (turn, deadline): (Instant, Instant),
    ) -> Page {
        if turn >= deadline {
            return Err(Failure::Timeout);
        }
        sleep_until(turn).await;
        if lock(&self.backoff).rest_left(Instant::now()).is_some() {
            return Err(Failure::BackingOff);
        }
        let url = self.url(&candles.path(market, page))?;
        let span = request_span(self.name, &url);
        let sent = self.client.get(url, self.key.clone(), MAX_PRICES_BYTES, deadline);
        let response = sent.instrument(span).await?;
        read(&response, |body| self.exchange.read_candles(body, market, candles)).map_err(|failure| {
            let (Failed { failure, blames_symbol }, reported) = self.describe(&response, failure);
            // Other failures may concern candles only.
            if TOO_MANY_REQUESTS.contains(&failure) {
                self.rest(&response, failure, reported, slot);
            }
            if blames_symbol { Failure::Unlisted } else { failure }
        })
    }

    /// The time between two requests for candles: as many as the rate limit leaves beside the requests for prices.
    fn pause_between_candles(&self) -> Duration {
        let requests = self.exchange.requests(&lock(&self.table).markets, self.most).len();
        self.about.limit.map(|limit| limit.pause_beside(requests, self.interval)).unwrap_or_default()
    }
}

/// What the pages of a market have within the range.
fn joined(pages: Vec<Page>, range: CandleRange) -> Past {
    let otherwise = pages.iter().find_map(|page| page.as_ref().err().copied()).unwrap_or(Failure::Missing);
    let candles = pages.into_iter().flatten().flatten();
    let within = candles.filter(|candle| (range.first..=range.last).contains(&candle.start));
    match finished(within) {
        Ok(closes) => Past { closes, otherwise },
        Err(failure) => Past::failed(failure),
    }
}
