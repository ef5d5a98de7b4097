//! A check repairs everything, stops the pollers, audits the log, and compares the pods' earlier and current responses
//! with the log.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use super::answers::{Question, covered_once, has};
use super::log::{self, Log};
use super::play::Play;
use super::probe::Answer;
use super::stage::{INTERVAL, PAIRS, STREAM};
use crate::audit;
use crate::nats::replicas;
use crate::records::Record;
use crate::wait::poll_until;

/// The limit of each wait once everything is repaired. A wait usually takes seconds.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(180);

/// How many records, as pods return them, are compared with the log at each check.
const EXPLAINED: u64 = 40;

impl Play {
    /// Checks everything. Fails with the first problem.
    pub(super) async fn check(&mut self) -> anyhow::Result<()> {
        self.settle().await?;
        self.inspect_servers().await.context("the servers")?;
        let log = Log::read(&self.stage.url).await.context("reading the log")?;
        self.report.log = audit::audit(&log.records).context("the log")?;
        audit::nothing_lost(&self.log.records, &log.records).context("acknowledged records are lost")?;
        for sighting in self.sightings.drain(..) {
            sighting.check(&log)?;
            self.report.compared += 1;
        }
        self.log = log;
        self.wait_for_pods().await?;
        for pair in PAIRS {
            for question in Question::ALL {
                let answer = self.ask_all(&question.path(pair)).await?;
                question.check(pair, &self.log.records, &answer.body)?;
            }
            self.every_slot_once(pair).await?;
        }
        self.explained().await?;
        self.report.checks += 1;
        for member in &mut self.stage.members {
            member.damage = None;
        }
        Ok(())
    }

    /// Starts everything with correct clocks. Then the log must get a new live price of each pair, servers that are
    /// killed one by one must recover, and each poller must exit cleanly.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.due.clear();
        self.stage.put_right().await?;
        let sane = replicas::blocks_are_sane(&self.stage.servers, STREAM).await;
        sane.context("the servers, after a restart")?;
        let url = self.stage.url.clone();
        let first = poll_until(RECOVERY_DEADLINE, async || log::last_sequence(&url).await).await;
        let first = first.context("the log does not respond, although all servers are running")?;
        let ticks = poll_until(RECOVERY_DEADLINE, async || live_ticks_since(&url, first).await).await;
        if ticks.is_none() {
            let mut output = replicas::complaints(&self.stage.servers).await;
            output.extend(self.stage.pollers().map(|poller| poller.tail()));
            bail!(
                "a pair has no live price in {RECOVERY_DEADLINE:?}, with everything running:\n{}",
                output.join("\n")
            );
        }
        if self.options.rollback.is_none() {
            self.servers_die_in_turn().await.context("while servers are killed one by one")?;
        }
        for poller in self.stage.pollers() {
            poller.end().await?;
        }
        Ok(())
    }

    /// Waits until every pod has reached the end of the log and is ready. If the log has lost records that a pod has,
    /// the pod needs a moment to notice that.
    async fn wait_for_pods(&mut self) -> anyhow::Result<()> {
        for number in 0..self.stage.members.len() {
            let mut last = String::new();
            let arrived = poll_until(RECOVERY_DEADLINE, async || match self.has_arrived(number).await {
                Ok(None) => Some(Ok(())),
                Ok(Some(how)) => {
                    last = how;
                    None
                }
                Err(error) => Some(Err(error)),
            });
            match arrived.await {
                Some(outcome) => outcome?,
                None => {
                    let member = self.stage.members.get(number).context("a member")?;
                    let damage = member.damage.as_deref().unwrap_or("was not touched");
                    bail!(
                        "{} did not reach the log's end in {RECOVERY_DEADLINE:?}: {last}; its store {damage}; it wrote:\n{}",
                        member.name,
                        member.tail()
                    );
                }
            }
        }
        Ok(())
    }

    /// `None` if the member has reached the end of the log and is ready, or if the member is not running. Otherwise, a
    /// description of its state.
    async fn has_arrived(&mut self, number: usize) -> anyhow::Result<Option<String>> {
        let Some(member) = self.stage.members.get_mut(number) else { return Ok(None) };
        if member.look_after()? {
            self.report.count("store refused");
        }
        if member.process.is_none() {
            return Ok(None);
        }
        let Some(url) = member.url() else { return Ok(Some("it does not listen".to_owned())) };
        let (Ok(pairs), Ok(ready)) =
            (self.client.get(&url, "/v1/pairs").await, self.client.get(&url, "/readyz").await)
        else {
            return Ok(Some("it does not respond".to_owned()));
        };
        let (name, last) = (&member.name, self.log.last());
        let may_be_ahead = self.options.rollback.is_some();
        ensure!(
            pairs.sequence <= last || may_be_ahead,
            "{name} is at {}, after the log's end {last}",
            pairs.sequence
        );
        let arrived = pairs.sequence == last && ready.status == 200;
        Ok((!arrived).then(|| format!("at {} of {last}, /readyz {}", pairs.sequence, ready.status)))
    }

    /// Sends every pod the same request. The responses must be the same bytes.
    async fn ask_all(&mut self, path: &str) -> anyhow::Result<Answer> {
        let mut first: Option<(String, Answer)> = None;
        for pod in self.stage.pods() {
            let url = pod.url().context("a pod that listens")?;
            let answer = self.client.get(&url, path).await.with_context(|| format!("{} {path}", pod.name))?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            ensure!(answer.status == 200, "{} returns {} for {path}: {text}", pod.name, answer.status);
            ensure!(
                answer.sequence == self.log.last(),
                "{} responded at sequence {} and not at the log's end",
                pod.name,
                answer.sequence
            );
            self.report.compared += 1;
            match &first {
                Some((name, other)) => ensure!(
                    other.body == answer.body,
                    "{name} and {} differ at sequence {} on {path}:\n{}\n{text}",
                    pod.name,
                    answer.sequence,
                    String::from_utf8_lossy(&other.body)
                ),
                None => first = Some((pod.name.clone(), answer)),
            }
        }
        first.map(|(_, answer)| answer).context("there are pods")
    }

    /// Checks that every slot of the pair is in exactly one item of the history or of the gaps, and that all pods
    /// return the same history and gaps.
    async fn every_slot_once(&mut self, pair: &str) -> anyhow::Result<()> {
        let history = self.ask_all(&Question::History.path(pair)).await?;
        let gaps = self.ask_all(&Question::Gaps.path(pair)).await?;
        covered_once(&history.body, &gaps.body, INTERVAL).with_context(|| format!("the slots of {pair}"))
    }

    /// Compares some records that pods return, including the newest, with the log.
    async fn explained(&mut self) -> anyhow::Result<()> {
        let last = self.log.last();
        let mut chance = StdRng::seed_from_u64(last);
        let newest = last.saturating_sub(EXPLAINED / 2) + 1..=last;
        let others = (0..EXPLAINED / 2).map(|_| chance.random_range(1..=last));
        for sequence in newest.chain(others) {
            let answer = self.ask_all(&format!("/v1/ticks/{sequence}")).await?;
            let record = self.log.up_to(sequence).last().context("a record at every position")?;
            let mut written: Value = serde_json::from_slice(&record.bytes)?;
            // Only the records in the log have a version. Responses do not contain it.
            written.as_object_mut().context("a record is an object")?.remove("version");
            let found: Value = serde_json::from_slice(&answer.body)?;
            has(&found, &written).with_context(|| format!("/v1/ticks/{sequence}: {found}"))?;
        }
        Ok(())
    }
}

/// Whether the log has a live price of each pair after the sequence `first`. A price of the past would not do: pods
/// refuse averages of seconds while the newest slot of a pair is a whole minute.
async fn live_ticks_since(url: &str, first: u64) -> Option<()> {
    let log = Log::read_after(url, first).await.ok()?;
    let is_live = |record: &Record| record.is_tick() && !record.backfilled;
    let has_price = |pair: &&str| log.records.iter().any(|record| record.pair == **pair && is_live(record));
    PAIRS.iter().all(has_price).then_some(())
}
