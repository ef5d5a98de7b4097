//! Asks for the prices of one slot: sends the requests, and repeats a request that was refused because of one of its
//! symbols without that symbol.

use common::domain::{Failure, Pair, Slot, SourceName, Timestamp};
use futures::future::join_all;
use reqwest::Url;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument, Span, field::Empty};

use super::{Failed, HttpSource, all, client::MAX_PRICES_BYTES, lists, lock, read, retry_after::server_time};
use crate::source::{
    exchange::Request,
    interface::Answers,
    market::{Market, Table},
};

/// What a request brought.
struct Asked {
    markets: Vec<Market>,
    /// The prices, or why there are none.
    answers: Result<Answers, Failed>,
}

impl HttpSource {
    /// Sends the requests for groups of markets, and continues with parts of a group that was refused because of one of
    /// its symbols, as long as requests are left.
    pub(super) async fn ask_groups(
        &self,
        table: &Table,
        slot: Slot,
        start: Instant,
        deadline: Instant,
    ) -> Answers {
        let now = slot.start();
        let pairs: Vec<Pair> = table.markets.iter().map(|market| market.pair).collect();
        let mut answers = Answers::new();
        let mut groups = lock(&self.search).groups(&pairs, self.most, now);
        let mut sent = 0;
        let may_ask = || lock(&self.backoff).rest_left(Instant::now()).is_none() && Instant::now() < deadline;
        while !groups.is_empty() && sent < self.most && (sent == 0 || may_ask()) {
            let requests: Vec<Request> = groups
                .iter()
                .map(|group| table.markets.iter().filter(|market| group.contains(&market.pair)).cloned())
                .flat_map(|markets| self.exchange.requests(&markets.collect::<Vec<_>>(), self.most))
                .collect();
            // A group may take more than one request.
            let requests = requests.into_iter().take(self.most.saturating_sub(sent)).enumerate();
            let asked: Vec<_> = requests
                .map(|(number, request)| self.ask_one(sent + number, request, slot, start, deadline))
                .collect();
            sent += asked.len();
            let asked = join_all(asked).await;
            groups = asked.into_iter().flat_map(|asked| self.record(asked, now, &mut answers)).collect();
        }
        let search = lock(&self.search);
        for pair in &pairs {
            if search.is_refused(*pair) {
                answers.insert(*pair, Err(Failure::Unlisted));
            } else {
                // The search has no requests left in this slot.
                answers.entry(*pair).or_insert(Err(Failure::BackingOff));
            }
        }
        answers
    }

    /// Adds what a request brought to the answers. If the exchange refused the request because of one of its symbols,
    /// returns the groups in which the search for that symbol continues.
    fn record(&self, asked: Asked, now: Timestamp, answers: &mut Answers) -> Vec<Vec<Pair>> {
        let Asked { markets, answers: brought } = asked;
        let group: Vec<Pair> = markets.iter().map(|market| market.pair).collect();
        let mut search = lock(&self.search);
        match brought {
            Ok(brought) => {
                answers.extend(brought);
                search.accepted(&group).into_iter().for_each(|pair| lists::log_available(self.name, pair));
                Vec::new()
            }
            Err(Failed { failure, blames_symbol }) => {
                answers.extend(all(&markets, failure));
                if !blames_symbol {
                    return Vec::new();
                }
                let halves = search.refused(&group, now);
                if let [pair] = group.as_slice()
                    && search.is_newly_refused(*pair)
                    // A list that has arrived in the meantime may have said so already.
                    && lock(&self.table).markets.iter().any(|market| market.pair == *pair)
                {
                    lists::log_refused(self.name, *pair);
                }
                halves
            }
        }
    }

    /// Sends one request, once the rate limit allows it.
    async fn ask_one(
        &self,
        number: usize,
        request: Request,
        slot: Slot,
        start: Instant,
        deadline: Instant,
    ) -> Asked {
        let Request { path, markets } = request;
        let answers = self.get_prices(number, &path, &markets, slot, (start, deadline)).await;
        Asked { markets, answers }
    }

    async fn get_prices(
        &self,
        number: usize,
        path: &str,
        markets: &[Market],
        slot: Slot,
        (start, deadline): (Instant, Instant),
    ) -> Result<Answers, Failed> {
        let url = self.url(path)?;
        let turn = start + self.about.limit.map(|limit| limit.delay(number)).unwrap_or_default();
        if turn > start {
            if turn >= deadline {
                return Err(Failure::Timeout.into());
            }
            sleep_until(turn).await;
            if lock(&self.backoff).rest_left(Instant::now()).is_some() {
                return Err(Failure::BackingOff.into());
            }
        }
        let span = request_span(self.name, &url);
        let sent = self.client.get(url, self.key.clone(), MAX_PRICES_BYTES, deadline);
        let response = sent.instrument(span).await?;
        if let Some(time) = server_time(&response.headers) {
            *lock(&self.clock) = Some((time, Instant::now()));
        }
        let read = read(&response, |body| self.exchange.read(body, markets));
        read.map_err(|failure| {
            let (failed, reported) = self.describe(&response, failure);
            self.rest(&response, failed.failure, reported, slot);
            failed
        })
    }
}

/// The span of a request. The client adds the result.
pub(super) fn request_span(name: SourceName, url: &Url) -> Span {
    tracing::info_span!(
        "source.request",
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = "GET",
        http.response.status_code = Empty,
        url.full = url.as_str(),
        server.address = url.host_str(),
        server.port = url.port_or_known_default(),
        error.type = Empty,
        tickwell.source = %name,
    )
}
