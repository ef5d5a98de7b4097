//! Rounds in which two of three servers get older copies of their stores back, as if snapshots of volumes were restored,
//! while pollers and pods keep running.
//!
//! If the third server becomes the leader, nothing is lost. Otherwise, the records that only the third server has are
//! lost. In this case, nats-server does not replace the third server's copy of the log, and pollers write nothing,
//! because the servers' copies differ. An operator has to decide with `tickwell log repair`, as described in
//! `docs/operations.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::{SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::log::{self, Log};
use super::member::Member;
use super::plan::Target;
use super::play::Play;
use super::round::{Round, Third};
use super::stage::{PAIRS, STREAM};
use crate::clock::now_ms;
use crate::nats::{Messages, replicas};
use crate::process::Tickwell;
use crate::records::{Kind, Record};
use crate::wait::{poll_until, poll_until_ok};

/// The possible causes of a gap that covers a slot whose record was lost.
const CAUSES_OF_LOST_SLOTS: &[&str] = &["log_lost"];

/// How long the operator waits for the feed to continue automatically. Elections take seconds, and pollers give a server
/// that was just started some time to report what it has. A loaded machine takes longer.
const OPERATORS_PATIENCE: Duration = Duration::from_secs(30);

/// The time limit of all other waits. If everything works, such a wait usually takes seconds. A loaded machine takes
/// longer.
const DEADLINE: Duration = Duration::from_secs(180);

/// The state before two servers lost their newest records.
struct Before {
    /// All records that any server had stored.
    messages: Messages,
    /// The newest sequence that both older copies have. Records up to this sequence must not be lost.
    copied: u64,
    /// The newest sequence that every pod had reached.
    shown: u64,
    /// When the two servers were killed, unix time in milliseconds.
    killed_ms: i64,
}

impl Play {
    /// Runs this many rounds unless the time is over first.
    pub(super) async fn roll_back(
        &mut self,
        rounds: usize,
        tell: &mut impl FnMut(&str),
    ) -> anyhow::Result<()> {
        ensure!(self.stage.servers.len() == 3, "rolling back two of three servers needs a cluster");
        let mut chance = StdRng::seed_from_u64(self.options.seed);
        self.check_all(tell).await?;
        for number in 1..=rounds {
            if self.began.elapsed() >= self.options.duration {
                break;
            }
            let round = Round::draw(&mut chance, self.stage.members.len());
            self.tell(tell, &format!("round {number}: {round:?}"));
            self.round(&round, tell).await.with_context(|| format!("round {number}"))?;
            self.report.count("round of rolling back");
        }
        Ok(())
    }

    async fn round(&mut self, round: &Round, tell: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        let (copies, copied) = self.copy_stores(round).await?;
        self.records_come(round.records).await?;
        let shown = self.shown().await?;
        let before = self.lose_newest(round, copies, Before::new(copied, shown)).await?;
        self.start_servers(round).await?;
        self.prices_continue(&before, tell).await?;
        self.restart_unhealthy(tell).await?;
        // The next check expects the records in `self.log` to still exist. Newer records may be lost, so expect only
        // those that both copies had.
        self.log.records.retain(|record| record.sequence <= copied);
        self.check_all(tell).await?;
        let lost = self.lost(&before)?;
        self.report.add("record lost", lost);
        self.report.count(if lost > 0 { "round with a loss" } else { "round without a loss" });
        self.tell(tell, &format!("{lost} records were lost after {copied}"));
        Ok(())
    }

    /// Copies the stores of two servers, one at a time, while the feed runs. Returns the copies and the newest
    /// sequence that both have.
    async fn copy_stores(&mut self, round: &Round) -> anyhow::Result<(Vec<TempDir>, u64)> {
        let (mut copies, mut copied) = (Vec::new(), u64::MAX);
        for number in round.victims {
            let server = self.stage.servers.get_mut(number).context("a server")?;
            if round.is_clean {
                server.stop().await?;
            }
            copies.push(server.save()?);
            let newest = server.read_replica(STREAM)?.messages.pop_last();
            copied = copied.min(newest.map_or(0, |(sequence, _)| sequence));
            server.restart().await?;
            replicas::wait_until_healthy(&self.stage.servers, STREAM).await?;
            self.records_come(2).await?;
        }
        Ok((copies, copied))
    }

    /// Waits until every pod has everything that the log contains now. Returns the log's newest sequence.
    async fn shown(&self) -> anyhow::Result<u64> {
        let last = log::last_sequence(&self.stage.url).await.context("the log does not respond")?;
        for pod in self.stage.pods() {
            let url = pod.url().context("a pod that listens")?;
            poll_until_ok(DEADLINE, async || {
                let sequence = self.client.get(&url, "/v1/pairs").await?.sequence;
                ensure!(sequence >= last, "{} is at {sequence} of {last}", pod.name);
                Ok(())
            })
            .await?;
        }
        Ok(last)
    }

    /// Kills the servers and the member that the round names. The third server is not killed if it is to keep running.
    /// Then replaces the stores of the two other servers with the older copies.
    async fn lose_newest(
        &mut self,
        round: &Round,
        copies: Vec<TempDir>,
        mut before: Before,
    ) -> anyhow::Result<Before> {
        before.killed_ms = now_ms();
        for number in round.victims {
            self.stage.kill(Target::Server(number))?;
        }
        if round.third_fate != Third::RunsOn {
            self.stage.kill(Target::Server(round.third))?;
        }
        if let Some(number) = round.member {
            self.stage.kill(Target::Member(number))?;
        }
        for server in &self.stage.servers {
            before.messages.append(&mut server.read_replica(STREAM)?.messages);
        }
        for (number, copy) in round.victims.into_iter().zip(copies) {
            self.stage.servers.get_mut(number).context("a server")?.restore(&copy)?;
        }
        Ok(before)
    }

    async fn start_servers(&mut self, round: &Round) -> anyhow::Result<()> {
        for (number, delay) in &round.starts {
            let is_late = round.third_fate == Third::ComesLate && *number == round.third;
            if is_late {
                let url = &self.stage.url;
                poll_until(DEADLINE, async || log::last_sequence(url).await)
                    .await
                    .context("the log does not respond with two servers")?;
            }
            sleep(*delay).await;
            self.stage.start_again(Target::Server(*number)).await?;
        }
        self.stage.put_right().await
    }

    /// Waits until prices continue, either automatically or after the operator has repaired the log.
    async fn prices_continue(&mut self, before: &Before, tell: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        let began = Instant::now();
        let url = self.stage.url.clone();
        let prices = async || has_prices_after(&url, before.copied, before.killed_ms).await;
        if poll_until(OPERATORS_PATIENCE, prices).await.is_none() {
            self.tell(tell, "the feed does not continue automatically; the operator repairs the log");
            self.repair().await?;
            self.report.count("repair by the operator");
            let prices = async || has_prices_after(&url, before.copied, before.killed_ms).await;
            let came = poll_until(DEADLINE, prices).await;
            let logs = || self.stage.members.iter().map(Member::tail).collect::<Vec<_>>().join("\n");
            came.with_context(|| format!("no price in {DEADLINE:?} after the repair:\n{}", logs()))?;
        }
        let took = began.elapsed().as_secs_f64();
        self.tell(tell, &format!("prices continue after {took:.1} s"));
        Ok(())
    }

    /// Restarts servers that stay unhealthy. An older copy of a store may lack the consumer of a pod. nats-server
    /// 2.15.1 may keep looking for this consumer, and `/healthz` then returns "consumer not found" until the server is
    /// restarted.
    async fn restart_unhealthy(&mut self, tell: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        let servers = &self.stage.servers;
        let healthy = async || replicas::complaints(servers).await.is_empty().then_some(());
        if poll_until(OPERATORS_PATIENCE, healthy).await.is_some() {
            return Ok(());
        }
        let complaints = replicas::complaints(&self.stage.servers).await;
        self.tell(tell, &format!("the operator restarts unhealthy servers: {}", complaints.join("; ")));
        for server in &mut self.stage.servers {
            if server.health().await.is_err() {
                server.stop().await?;
                server.restart().await?;
                self.report.count("restart by the operator");
            }
        }
        Ok(())
    }

    async fn repair(&self) -> anyhow::Result<()> {
        let mut process = Tickwell::command(self.options.binary.canonicalize()?, &self.options.folder)
            .args(["log", "repair", "--yes"])
            .envs(self.stage.environment.iter().map(|(name, value)| (name, value)))
            .start()?;
        let status = process.wait_exit(DEADLINE).await?;
        ensure!(status.success(), "tickwell log repair: {status}:\n{}", process.lines().join("\n"));
        Ok(())
    }

    /// Returns how many of the records that pods had served are lost. Each slot of these records must now have a tick,
    /// or be part of a gap whose cause is the loss.
    fn lost(&self, before: &Before) -> anyhow::Result<usize> {
        let kept: BTreeMap<u64, &Record> =
            self.log.records.iter().map(|record| (record.sequence, record)).collect();
        let mut lost_slots: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        let mut lost = 0;
        for (sequence, message) in before.messages.range(before.copied + 1..=before.shown) {
            if kept.get(sequence).is_some_and(|record| record.bytes == message.payload) {
                continue;
            }
            lost += 1;
            let record = Record::read(&message.payload)?;
            if let Some((from, last)) = record.covers() {
                let slots = (from..=last).step_by(usize::try_from(record.interval())?);
                lost_slots.entry(record.pair).or_default().extend(slots);
            }
        }
        for (pair, slots) in lost_slots {
            for slot in slots {
                is_covered(&self.log, &pair, slot)?;
            }
        }
        Ok(lost)
    }
}

impl Before {
    fn new(copied: u64, shown: u64) -> Self {
        Self { messages: Messages::new(), copied, shown, killed_ms: 0 }
    }
}

/// Checks that a slot whose record was lost is covered by a tick, or by a gap whose cause is the loss.
fn is_covered(log: &Log, pair: &str, slot: i64) -> anyhow::Result<()> {
    let covers = |record: &&Record| {
        record.pair == pair && record.covers().is_some_and(|(from, last)| (from..=last).contains(&slot))
    };
    let text = || crate::records::time_text(slot);
    let record = log.records.iter().find(covers);
    let record = record.with_context(|| format!("nothing covers the lost slot {} of {pair}", text()))?;
    let cause = record.cause.as_deref().unwrap_or_default();
    ensure!(
        record.kind == Kind::Tick || CAUSES_OF_LOST_SLOTS.contains(&cause),
        "the lost slot {} of {pair} is in a gap with the cause {cause}: {record:?}",
        text()
    );
    Ok(())
}

/// Whether the log has a tick of every pair after this sequence, for a slot after this time.
async fn has_prices_after(url: &str, sequence: u64, time_ms: i64) -> Option<()> {
    let log = Log::read_after(url, sequence).await.ok()?;
    let is_new = |record: &Record| record.is_tick() && record.slot.is_some_and(|slot| slot.0 > time_ms);
    let has_new = |pair: &str| log.records.iter().any(|record| record.pair == pair && is_new(record));
    PAIRS.into_iter().all(has_new).then_some(())
}
