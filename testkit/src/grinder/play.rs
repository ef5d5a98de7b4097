//! The main loop. It performs the steps of the plan, undoes them when they are due, observes the pods, and checks
//! everything from time to time.

use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::time::{Instant, sleep};

use super::answers::Question;
use super::log::Log;
use super::plan::{Plan, Step, Target, Turn};
use super::probe::{Client, READY_WITHIN, Seen, Sighting};
use super::report::Report;
use super::stage::{PAIRS, POLLERS, Stage};
use super::{Options, member::Member};

/// How often the loop checks whether a step must be undone.
const TICK: Duration = Duration::from_millis(50);

/// The requests that are sent between checks. History and gaps would take too long.
const ASKED: [Question; 2] = [Question::Price, Question::Averages];

/// An action that undoes a step at a certain time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Undo {
    Start(Target),
    Resume(Target),
    ClockBack(usize),
}

/// A run of the grinder.
pub(super) struct Play {
    pub(super) options: Options,
    pub(super) began: Instant,
    pub(super) stage: Stage,
    pub(super) client: Client,
    pub(super) report: Report,
    /// The log as the last check read it.
    pub(super) log: Log,
    pub(super) sightings: Vec<Sighting>,
    pub(super) due: Vec<(Instant, Undo)>,
}

impl Play {
    pub(super) async fn start(options: Options, tell: &mut impl FnMut(&str)) -> anyhow::Result<Self> {
        let stage = Stage::start(&options).await?;
        let servers = if options.cluster { "three nats-servers" } else { "a nats-server" };
        let without =
            if stage.has_clocks { "" } else { "; no clock jumps, because libfaketime is not installed" };
        tell(&format!(
            "seed {}: {servers}, {POLLERS} pollers, {} pods, in {}{without}",
            options.seed,
            options.pods,
            options.folder.display()
        ));
        let report = Report { seed: options.seed, ..Report::default() };
        let (client, began) = (Client::new()?, Instant::now());
        let (log, sightings, due) = (Log::default(), Vec::new(), Vec::new());
        Ok(Self { options, began, stage, client, report, log, sightings, due })
    }

    /// Runs until the time is over or something is wrong.
    pub(super) async fn run(mut self, tell: &mut impl FnMut(&str)) -> anyhow::Result<Report> {
        let outcome = match self.options.rollback {
            Some(rounds) => self.roll_back(rounds, tell).await,
            None => self.grind(tell).await,
        };
        self.report.took = self.began.elapsed();
        if let Err(error) = outcome {
            self.report.failures.push(format!("{error:#}"));
            self.keep_evidence();
        }
        Ok(self.report)
    }

    async fn grind(&mut self, tell: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        let (seed, servers) = (self.options.seed, self.stage.servers.len());
        let (pods, without) = (self.options.pods, self.options.without.clone());
        let mut plan = Plan::new(seed, servers, POLLERS, pods, without);
        // Check that everything works before the first step.
        self.check_all(tell).await?;
        loop {
            for turn in plan.by_ref().take(self.options.steps_between_checks) {
                self.turn(turn, tell).await?;
            }
            self.check_all(tell).await?;
            if self.began.elapsed() >= self.options.duration {
                return Ok(());
            }
        }
    }

    pub(super) async fn check_all(&mut self, tell: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        let began = Instant::now();
        self.check().await?;
        for poller in self.stage.pollers() {
            poller.start()?;
        }
        let (took, slots, last) = (began.elapsed().as_secs_f64(), self.report.log.slots, self.log.last());
        self.tell(tell, &format!("check passed after {took:.1} s: {last} records in {slots} slots"));
        Ok(())
    }

    async fn turn(&mut self, turn: Turn, tell: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        if let Some(description) = self.step(turn.step).await? {
            self.tell(tell, &description);
        }
        let next = Instant::now() + turn.pause;
        while Instant::now() < next {
            self.undo_what_is_due().await?;
            sleep(TICK).await;
        }
        self.look_after_all(tell)?;
        self.look_at_pods().await;
        Ok(())
    }

    /// Performs a step if its target is running. Returns a description of what was done.
    async fn step(&mut self, step: Step) -> anyhow::Result<Option<String>> {
        Ok(match step {
            Step::Kill(victims) => {
                let mut killed = Vec::new();
                for (victim, down) in victims {
                    if self.stage.kill(victim)? {
                        let name = self.stage.name(victim);
                        self.report.count(&format!("kill -9 of {}", kind(&name)));
                        killed.push(format!("{name} for {:.1} s", down.as_secs_f64()));
                        self.later(down, Undo::Start(victim));
                    }
                }
                (!killed.is_empty()).then(|| format!("killed {}", killed.join(", ")))
            }
            Step::Pause(victim, time) => self.stage.pause(victim)?.then(|| {
                let name = self.stage.name(victim);
                self.report.count(&format!("pause of {}", kind(&name)));
                self.later(time, Undo::Resume(victim));
                format!("paused {name} for {:.1} s", time.as_secs_f64())
            }),
            Step::Restart(number) => {
                let Some(member) = self.stage.members.get_mut(number) else { return Ok(None) };
                let ended = member.end().await?;
                member.start()?;
                let name = member.name.clone();
                ended.then(|| {
                    self.report.count(&format!("restart of {}", kind(&name)));
                    format!("restarted {name}")
                })
            }
            Step::Delete(number) => self.change_store(number, |member| {
                std::fs::remove_dir_all(member.data())?;
                Ok(Some("was deleted".to_owned()))
            })?,
            Step::Corrupt(number, damage, seed) => self.change_store(number, |member| {
                let store = member.data().join("store");
                let done = damage.befall(&store, &mut StdRng::seed_from_u64(seed))?;
                Ok(done.map(|done| format!("was damaged: {done}")))
            })?,
            Step::Jump(number, ahead, time) => {
                let Some(member) = self.stage.members.get(number) else { return Ok(None) };
                if !member.set_clock(ahead)? {
                    return Ok(None);
                }
                let (name, seconds) = (member.name.clone(), time.as_secs_f64());
                self.report.count(&format!("clock jump of {}", kind(&name)));
                self.later(time, Undo::ClockBack(number));
                Some(format!("the clock of {name} jumped by {ahead} s, for {seconds:.1} s"))
            }
        })
    }

    /// Kills a pod, changes its store if there is one, and starts the pod again. Returns a description of the change.
    fn change_store(
        &mut self,
        number: usize,
        change: impl FnOnce(&Member) -> anyhow::Result<Option<String>>,
    ) -> anyhow::Result<Option<String>> {
        let Some(member) = self.stage.members.get_mut(number) else { return Ok(None) };
        if member.kill()? {
            self.report.count("kill -9 of pod");
        }
        let has_store = member.data().join("store").is_dir();
        let what = if has_store { change(member)? } else { None };
        member.start()?;
        let Some(what) = what else { return Ok(None) };
        member.damage = Some(what.clone());
        let description = format!("the store of {} {what}", member.name);
        let counted = if what.contains("deleted") { "store deleted" } else { "store damaged" };
        self.report.count(counted);
        Ok(Some(description))
    }

    fn later(&mut self, time: Duration, undo: Undo) {
        self.due.push((Instant::now() + time, undo));
    }

    async fn undo_what_is_due(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let (due, later) = self.due.drain(..).partition(|(when, _)| *when <= now);
        self.due = later;
        let due: Vec<(Instant, Undo)> = due;
        for (_, undo) in due {
            match undo {
                Undo::Start(target) => self.stage.start_again(target).await?,
                Undo::Resume(target) => self.stage.resume(target)?,
                Undo::ClockBack(number) => {
                    if let Some(member) = self.stage.members.get(number) {
                        member.set_clock(0)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn look_after_all(&mut self, tell: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        let mut refused = Vec::new();
        for member in &mut self.stage.members {
            if member.look_after()? {
                refused.push(member.name.clone());
            }
        }
        for name in refused {
            self.report.count("store refused");
            self.tell(tell, &format!("{name} refused its store and was restarted without it"));
        }
        Ok(())
    }

    /// Sends requests to each pod that is listening and not paused.
    async fn look_at_pods(&mut self) {
        let turn = self.sightings.len();
        let question = ASKED.get(turn % ASKED.len()).copied().unwrap_or(Question::Price);
        let pair = PAIRS.get(turn / ASKED.len() % PAIRS.len()).copied().unwrap_or("BTC-USD");
        let mut sightings = Vec::new();
        for pod in self.stage.pods().filter(|pod| !pod.paused) {
            let Some(url) = pod.url() else { continue };
            let settled = pod.undisturbed_since.elapsed() > READY_WITHIN;
            let damage =
                pod.damage.as_ref().map(|damage| format!(", its store {damage}")).unwrap_or_default();
            for seen in self.client.look(&url, question, pair).await {
                if settled || matches!(seen, Seen::Answer(..)) {
                    sightings.push(Sighting { whose: format!("{}{damage}", pod.name), seen });
                }
            }
        }
        self.sightings.append(&mut sightings);
    }

    pub(super) fn tell(&self, tell: &mut impl FnMut(&str), what: &str) {
        tell(&format!("{:>7.1} s  {what}", self.began.elapsed().as_secs_f64()));
    }

    /// Saves what is needed to investigate a failure: the records that the last check read, and a copy of each server's
    /// store and log file.
    fn keep_evidence(&self) {
        let lines = self.log.records.iter().map(|record| String::from_utf8_lossy(&record.bytes).into_owned());
        let folder = &self.options.folder;
        // Ignore errors, because the failure itself is in the report.
        let _written = std::fs::write(folder.join("log.ndjson"), lines.collect::<Vec<_>>().join("\n"));
        for (number, server) in (1..).zip(&self.stage.servers) {
            let _copied = server.copy_folder(&folder.join(format!("nats-{number}")));
        }
    }
}

/// The kind of a server or process, which is its name without the number.
fn kind(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}
