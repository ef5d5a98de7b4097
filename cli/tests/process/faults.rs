//! Tests the real binary with every fault that a source can have. Each fault has its own test.
//!
//! A test waits for a few slots without a fault, then injects one fault and checks every later record, the metrics and
//! readiness through the public interface. The correct prices are known because the fake market is a function of time.

mod answers;
mod connections;
mod manners;
mod memory;
mod outages;
mod prices;

use std::sync::Arc;
use std::time::Duration;

use testkit::{
    Venue,
    fault::Fault,
    market::{Market, WalkMarket},
    upstream::FakeUpstream,
    wait_until,
};

use crate::{
    harness::{DEADLINE, Pod, Scene},
    oracle,
    records::{self, Quote, Record},
};

/// The interval between slots. It is short because many faults show only after many slots. If it were shorter, a debug
/// build on a busy machine could not keep up.
pub(crate) const SLOT: Duration = Duration::from_millis(250);
const SLOT_MS: i64 = 250;

const PAIR: &str = "BTC-USD";

/// The verdict on a source that is not polled for a while after failures.
const RESTING: &str = "backing_off";

/// The verdict on a source that was too slow. If the machine stalls, sources without a fault may get it too.
const LATE: &str = "timeout";

/// Verdicts after which a source is not polled for a long time. Tests therefore wait until a source has got such a
/// verdict once, and not several times.
const LONG_RESTS: [&str; 6] = ["http_403", "http_418", "http_429", "http_451", "rate_limited", "challenge"];

/// A Tickwell process and its sources, some of which get a fault.
pub(crate) struct Trial {
    pub(crate) upstream: FakeUpstream,
    pub(crate) pod: Pod,
    market: WalkMarket,
    sources: Vec<Venue>,
    faulty: Vec<Venue>,
    began_ms: i64,
    /// The records of the slots after the faults began. Records without quotes are left out.
    pub(crate) records: Vec<Record>,
    next: u64,
    _scene: Scene,
}

impl Trial {
    /// Starts with these sources, and returns after a slot in which all of them were used.
    pub(crate) async fn start(sources: &[Venue]) -> Self {
        Self::with(sources, |scene| scene).await
    }

    /// Like [`Trial::start`], with additional settings.
    pub(crate) async fn with(sources: &[Venue], settings: impl FnOnce(Scene) -> Scene) -> Self {
        let mut trial = Self::unproven(sources, settings).await;
        wait_until("a slot in which all sources are used", DEADLINE, async || {
            trial.read().await;
            trial.records.iter().any(|record| record.used().len() == sources.len()).then_some(())
        })
        .await;
        trial
    }

    /// Like [`Trial::with`], but does not wait until all sources have been used, because the settings may make one
    /// fail.
    pub(crate) async fn unproven(sources: &[Venue], settings: impl FnOnce(Scene) -> Scene) -> Self {
        let market = WalkMarket::new(7, SLOT).unwrap();
        let upstream = FakeUpstream::start(Arc::new(market), "127.0.0.1:0").await.unwrap();
        let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
        let scene = Scene::new(SLOT)
            .asking(&upstream)
            .with("TICKWELL__FEED__SOURCES", &names.join(","))
            .with("TICKWELL__SOURCES__COINGECKO__ROLE", "primary");
        let scene = settings(scene);
        let pod = scene.standalone("only").await;
        let (sources, faulty, records) = (sources.to_vec(), Vec::new(), Vec::new());
        Self { upstream, pod, market, sources, faulty, began_ms: 0, records, next: 1, _scene: scene }
    }

    /// Gives the fault to these venues, and forgets the records that were read before.
    pub(crate) fn begin(&mut self, venues: &[Venue], fault: &str) {
        let fault: Fault = fault.parse().unwrap();
        venues.iter().for_each(|venue| self.upstream.set_fault(*venue, fault));
        self.faulty = venues.to_vec();
        self.began_ms = testkit::clock::now_ms();
        self.records.clear();
    }

    /// Ends all faults, and forgets the records that were read before.
    pub(crate) fn begin_honest(&mut self) {
        self.faulty.iter().for_each(|venue| self.upstream.set_fault(*venue, None));
        self.began_ms = testkit::clock::now_ms();
        self.records.clear();
    }

    /// Reads the records that were added since the last call.
    pub(crate) async fn read(&mut self) {
        let newest = self.pod.sequence().await;
        while self.next <= newest {
            let record = records::at(&self.pod, self.next).await;
            self.next += 1;
            let is_after = record.slot.is_some_and(|slot| slot.0 > self.began_ms);
            if is_after && record.quotes.is_some() {
                self.records.push(record);
            }
        }
    }

    /// Reads records until `enough` returns true.
    pub(crate) async fn read_until(&mut self, what: &str, enough: impl Fn(&[Record]) -> bool) {
        wait_until(what, DEADLINE, async || {
            self.read().await;
            enough(&self.records).then_some(())
        })
        .await;
    }

    /// Whether every source without a fault responded in time. If the machine stalls, any source may be late.
    pub(crate) fn is_undisturbed(&self, record: &Record) -> bool {
        let honest = record.quotes().iter().filter(|quote| !self.is_faulty(quote));
        honest.into_iter().all(|quote| quote.verdict != LATE)
    }

    fn is_faulty(&self, quote: &Quote) -> bool {
        self.faulty.iter().any(|venue| venue.name() == quote.source)
    }

    /// Checks each record of a test in which enough sources have no fault. Every source must have a verdict. Sources
    /// without a fault must be used, with the prices that they quoted. The price must be the median of the used quotes.
    pub(crate) fn check_honest(&self) {
        for record in &self.records {
            let asked: Vec<&str> = record.quotes().iter().map(|quote| quote.source.as_str()).collect();
            let expected: Vec<&str> = self.sources.iter().map(|source| source.name()).collect();
            assert_eq!(asked, expected, "{record:?}");
            for quote in record.quotes().iter().filter(|quote| !self.is_faulty(quote)) {
                assert!(["used", LATE].contains(&quote.verdict.as_str()) || !record.is_tick(), "{record:?}");
                self.check_price(quote, record);
            }
            assert!(record.is_tick() || !self.is_undisturbed(record), "{record:?}");
            if record.is_tick() {
                oracle::check_price(record);
            }
        }
    }

    /// Checks that the quoted price is the market's price in the record's slot. If the machine stalled, it may be the
    /// price of a later slot, up to the time at which the quote was received.
    fn check_price(&self, quote: &Quote, record: &Record) {
        let (Some(price), Some(seen)) = (&quote.price, quote.observed_at) else { return };
        let (venue, slot) = (quote.source.parse().unwrap(), record.slot.unwrap().0);
        let mut given = (slot..=seen.0.max(slot)).step_by(usize::try_from(SLOT_MS).unwrap());
        let true_price = |time_ms| self.market.trade(venue, PAIR, time_ms).unwrap().price;
        assert!(given.any(|time_ms| true_price(time_ms) == *price), "{quote:?} in {record:?}");
    }

    /// In how many of the records a source has this verdict.
    pub(crate) fn count(&self, venue: Venue, verdict: &str) -> usize {
        self.records.iter().filter(|record| record.verdict(venue.name()) == verdict).count()
    }

    /// Waits until the readiness check of the sources has this condition. The process must stay ready meanwhile.
    pub(crate) async fn readiness_says(&self, condition: &str) {
        wait_until(&format!("sources are {condition}"), DEADLINE, async || {
            let ready = self.pod.get("/readyz?verbose").await.found();
            let checks = ready["checks"].as_array().unwrap().clone();
            let sources = checks.into_iter().find(|check| check["name"] == "sources").unwrap();
            (sources["condition"] == condition).then_some(())
        })
        .await;
    }
}

/// Gives one of five sources a fault with which its responses contain no quote. The source must get this verdict
/// whenever it is polled.
pub(crate) async fn fails(venue: Venue, fault: &str, verdict: &str) -> Trial {
    let mut trial = Trial::start(&five_with(venue)).await;
    trial.begin(&[venue], fault);
    is_marked(&mut trial, venue, verdict, if LONG_RESTS.contains(&verdict) { 1 } else { 2 }).await;
    let counter = format!("tickwell_source_failures_total{{reason=\"{verdict}\",source=\"{venue}\"}}");
    assert!(trial.pod.metric(&counter).await >= count(&trial, venue, verdict), "{counter}");
    trial
}

/// Checks a source whose fault makes its quotes unusable. The quotes must be in the records, but must not be used for
/// the price.
pub(crate) async fn is_set_aside(trial: &mut Trial, venue: Venue, verdict: &str) {
    is_marked(trial, venue, verdict, 3).await;
    let counter = format!("tickwell_source_quotes_total{{source=\"{venue}\",verdict=\"{verdict}\"}}");
    assert!(trial.pod.metric(&counter).await >= count(trial, venue, verdict), "{counter}");
    for record in trial.records.iter().filter(|record| record.verdict(venue.name()) == verdict) {
        let quote = record.quotes().iter().find(|quote| quote.source == venue.name()).unwrap();
        assert!(quote.price.is_some(), "a rejected quote must be in the record: {record:?}");
    }
}

/// Waits until the source has had the verdict this many times. The source must not get a verdict that the fault does not
/// explain.
async fn is_marked(trial: &mut Trial, venue: Venue, verdict: &str, times: usize) {
    wait_until(&format!("{venue} is {verdict}"), DEADLINE, async || {
        trial.read().await;
        for record in &trial.records {
            let given = record.verdict(venue.name());
            assert!(
                [verdict, RESTING, LATE].contains(&given),
                "{venue} is {given}, not {verdict}: {record:?}"
            );
        }
        (trial.count(venue, verdict) >= times && trial.records.len() >= 3).then_some(())
    })
    .await;
    trial.check_honest();
    trial.readiness_says("ready").await;
}

fn count(trial: &Trial, venue: Venue, verdict: &str) -> u64 {
    u64::try_from(trial.count(venue, verdict)).unwrap()
}

/// Five sources including this one, in the order of [`Venue::ALL`].
fn five_with(venue: Venue) -> Vec<Venue> {
    let mut sources = Venue::USD_EXCHANGES.to_vec();
    if !sources.contains(&venue) {
        sources.pop();
        sources.push(venue);
    }
    sources
}
