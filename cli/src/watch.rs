//! `tickwell watch`: live prices in a terminal.
//!
//! - [`event`]: what a pod sends.
//! - [`state`]: what is known, and what an event or a lost connection changes of it.
//! - [`screen`]: how it looks, and where it goes.
//! - [`table`]: how it looks on a terminal, however small.
//!
//! A connection that ends is made anew, at the next pod if there are several, behind the last event: nothing is
//! left out and nothing comes twice.

mod event;
mod screen;
mod state;
mod table;
mod text;

use std::{io, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use common::{
    clock::{Clock, SystemClock},
    domain::Pair,
};
use rand::Rng;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::pod::{Answer, KeyArguments, PodClient, Refusal, StatusCode};
use event::{Event, Message};
use screen::{Look, Screen};
use state::State;
use table::Size;

/// A pod that sends nothing for so long is gone: it says so every 15 seconds that it is there.
const MAX_SILENCE: Duration = Duration::from_secs(45);

/// How long the first wait is, at most; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// How often it is doubled: to half a minute.
const MAX_DOUBLINGS: u32 = 6;

/// The longest wait that a pod may ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How often ages are counted anew.
const REDRAW: Duration = Duration::from_secs(1);

/// Pods that one command goes through.
const MAX_PODS: usize = 16;

/// Lines that fit on most screens.
const MAX_PAIRS: usize = 20;

/// What to watch, and where.
#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    /// The pairs, such as BTC-USD
    #[arg(value_name = "PAIR", required = true, num_args = 1..=MAX_PAIRS)]
    pairs: Vec<Pair>,

    /// The address of a pod; given several times, the next one is tried when one is lost
    #[arg(long = "url", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    urls: Vec<String>,

    #[command(flatten)]
    key: KeyArguments,

    /// A line for each event, also on a terminal
    #[arg(long, conflicts_with = "json")]
    plain: bool,

    /// The events as they come, one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Watches until it is told to stop, or nobody looks any more.
pub(crate) fn run(arguments: &WatchArguments) -> Result<()> {
    if arguments.urls.len() > MAX_PODS {
        bail!("--url: {MAX_PODS} pods are enough");
    }
    let key = arguments.key.find()?;
    let pod = |url: &String| PodClient::streaming("--url", url, &key, MAX_SILENCE);
    let pods: Vec<PodClient> = arguments.urls.iter().map(pod).collect::<Result<_>>()?;
    let mut pairs: Vec<Pair> = Vec::new();
    for pair in &arguments.pairs {
        if !pairs.contains(pair) {
            pairs.push(*pair);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let watched = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let look = Look::of_process(arguments.plain, arguments.json);
        let screen = Screen::new(look, Box::new(io::stdout()), Box::new(io::stderr()), Box::new(size));
        let mut watch = Watch {
            pods,
            state: State::new(pairs),
            screen,
            clock: Arc::new(SystemClock),
            first_wait: FIRST_WAIT,
        };
        tokio::select! {
            ended = watch.run() => ended,
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
            _ = terminated.recv() => Ok(()),
        }
    });
    match watched {
        // Whoever has gone away has seen what it wanted.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}

/// What the terminal has room for now, if it is one and says so.
fn size() -> Size {
    let said = terminal_size::terminal_size_of(io::stdout());
    said.map_or(Size::USUAL, |(columns, lines)| Size { columns: columns.0.into(), lines: lines.0.into() })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

struct Watch {
    pods: Vec<PodClient>,
    state: State,
    screen: Screen,
    clock: Arc<dyn Clock>,
    first_wait: Duration,
}

/// Why a connection is none, or none any more.
struct Lost {
    why: String,
    /// What the pod asks for.
    wait: Option<Duration>,
}

impl Watch {
    /// Goes on until something is wrong that waiting does not mend.
    async fn run(&mut self) -> Result<()> {
        let mut failures = 0;
        for turn in 0.. {
            let before = self.state.events();
            let lost = self.connection(turn % self.pods.len()).await?;
            failures = if self.state.events() > before { 0 } else { failures + 1 };
            let next = self.pods.get((turn + 1) % self.pods.len()).map(PodClient::url).unwrap_or_default();
            let wait =
                wait(self.first_wait, failures, lost.wait, |whole| rand::rng().random_range(0..=whole));
            let until = Instant::now() + wait;
            self.state.lost(lost.why, next.to_owned(), until);
            self.screen.status(&self.state);
            self.show_until(until).await?;
        }
        Ok(())
    }

    /// One connection, from its beginning to its end.
    async fn connection(&mut self, number: usize) -> Result<Lost> {
        let Some(pod) = self.pods.get(number) else { bail!("no pod is named") };
        let pairs: Vec<String> = self.state.pairs().map(|pair| pair.to_string()).collect();
        let path = format!("/v1/stream?pairs={}", pairs.join(","));
        let last = self.state.last().map(str::to_owned);
        self.screen.redraw(&self.state, self.clock.now())?;
        let mut redraw = interval(REDRAW);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let answered = {
            let mut connecting = pin!(pod.follow(&path, last.as_deref()));
            loop {
                tokio::select! {
                    answered = &mut connecting => break answered,
                    _ = redraw.tick() => self.screen.redraw(&self.state, self.clock.now())?,
                }
            }
        };
        let mut events = match answered {
            Ok(events) => events,
            Err(Refusal::Away(why)) => return Ok(Lost { why, wait: None }),
            Err(Refusal::Said(answer)) => return refused(pod, &answer, &mut self.state),
        };
        self.state.connected(pod.url().to_owned());
        self.screen.status(&self.state);
        loop {
            let sent = tokio::select! {
                sent = events.next() => sent,
                _ = redraw.tick() => {
                    self.screen.redraw(&self.state, self.clock.now())?;
                    continue;
                }
            };
            let sent = match sent {
                Ok(sent) => sent,
                Err(why) => return Ok(Lost { why, wait: None }),
            };
            match Message::read(&sent.kind, &sent.data) {
                Ok(Message::Event(event)) => self.show(event, &sent.data)?,
                Ok(Message::End(why)) => return Ok(Lost { why, wait: None }),
                // A kind of a later version is nothing to be shown.
                Ok(Message::Other) => {}
                Err(error) => {
                    return Ok(Lost { why: format!("it sent what is no event: {error}"), wait: None });
                }
            }
        }
    }

    fn show(&mut self, event: Event, data: &str) -> Result<()> {
        if let Some(shown) = self.state.take(event) {
            self.screen.event(&shown, data)?;
            self.screen.redraw(&self.state, self.clock.now())?;
        }
        Ok(())
    }

    /// Waits, and counts down.
    async fn show_until(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            self.screen.redraw(&self.state, self.clock.now())?;
            sleep_until(until.min(Instant::now() + REDRAW)).await;
        }
        Ok(())
    }
}

/// What an answer means that is no stream: something to wait for, or the end.
fn refused(pod: &PodClient, answer: &Answer, state: &mut State) -> Result<Lost> {
    let why = match pod.reason(answer) {
        reason if reason.is_empty() => format!("it answers {}", answer.status),
        reason => reason,
    };
    match answer.status {
        StatusCode::CONFLICT | StatusCode::GONE if state.last().is_some() => {
            let why = match state.refused(answer.status == StatusCode::GONE) {
                true => format!("{why}; beginning anew"),
                false => why,
            };
            return Ok(Lost { why, wait: None });
        }
        _ if state.has_been_connected() => {}
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {}
        _ => return Err(pod.refusal(answer)),
    }
    Ok(Lost { why, wait: answer.retry_after() })
}

/// How long to wait after so many failures in a row. Half of it is chance, so that clients who have lost the same
/// pod do not come back all at once.
fn wait(first: Duration, failures: u32, told: Option<Duration>, chance: impl FnOnce(u64) -> u64) -> Duration {
    let longest = first * 2_u32.pow(failures.min(MAX_DOUBLINGS));
    let half = longest / 2;
    let wait = half + Duration::from_millis(chance(u64::try_from(half.as_millis()).unwrap_or_default()));
    wait.max(told.unwrap_or_default().min(MAX_WAIT))
}

#[cfg(test)]
mod tests;
