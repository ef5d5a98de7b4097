//! `tickwell watch`: live prices in a terminal.
//!
//! - [`event`]: the events that a pod sends.
//! - [`state`]: what is known of each pair and of the connection, updated by events.
//! - [`text`]: events and the connection as text.
//! - [`table`]: the table for a terminal of any size.
//! - [`screen`]: writes lines or the table to the terminal.
//!
//! If a connection ends, the command connects again (to the next pod if there are several) and resumes after the last
//! event. So no event is missed and none is shown twice.

mod event;
mod screen;
mod state;
mod table;
mod text;

use std::{io, pin::pin, sync::Arc, time::Duration};

use anyhow::{Result, bail};
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

use crate::{
    output,
    pod::{self, KeyArguments, PodClient, Response, StatusCode, StreamError},
    runtime,
};
use event::{Event, Message};
use screen::{Look, Screen};
use state::State;
use table::Size;

/// A pod that sends nothing for this long is considered gone. Pods send a heartbeat every 15 seconds.
const MAX_SILENCE: Duration = Duration::from_secs(45);

/// The longest wait after the first failure. The longest wait doubles with every further failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// How many times the wait doubles. The longest wait is then about half a minute.
const MAX_DOUBLINGS: u32 = 6;

/// The longest wait that a pod can ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How often the table is drawn again to update the ages of prices.
const REDRAW: Duration = Duration::from_secs(1);

/// The maximum number of pods.
const MAX_PODS: usize = 16;

/// The maximum number of pairs that can be named: as many lines as fit on most screens.
const MAX_PAIRS: usize = 20;

/// What to watch, and at which pods.
#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    /// The pairs to watch, such as BTC-USD. Without any, all pairs of the feed are watched
    #[arg(value_name = "PAIR", num_args = 0..=MAX_PAIRS)]
    pairs: Vec<Pair>,

    /// The address of a pod. Can be repeated: if a connection is lost, the next pod is tried
    #[arg(long = "url", value_name = "URL", default_value = pod::DEFAULT_URL)]
    urls: Vec<String>,

    #[command(flatten)]
    key: KeyArguments,

    /// Print one line per event, even on a terminal
    #[arg(long, conflicts_with = "json")]
    plain: bool,

    /// Print the events as received, one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Watches until the command is interrupted or its output is closed.
pub(crate) fn run(arguments: &WatchArguments) -> Result<()> {
    if arguments.urls.len() > MAX_PODS {
        bail!("--url: give at most {MAX_PODS} addresses, not {}", arguments.urls.len());
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
    let watched = runtime::block_on(async {
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
        // The reader of a closed pipe needs no more events.
        Err(error) if output::is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}

/// The current size of the terminal, or a common size if it is unknown.
fn size() -> Size {
    let size = terminal_size::terminal_size_of(io::stdout());
    size.map_or(Size::USUAL, |(columns, lines)| Size { columns: columns.0.into(), lines: lines.0.into() })
}

struct Watch {
    pods: Vec<PodClient>,
    state: State,
    screen: Screen,
    clock: Arc<dyn Clock>,
    first_wait: Duration,
}

/// Why a connection failed or ended.
struct Lost {
    why: String,
    /// How long the pod asks to wait.
    wait: Option<Duration>,
}

impl Watch {
    /// Connects again and again, until an error occurs that a retry cannot fix.
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

    /// Opens one connection and shows its events until it ends.
    async fn connection(&mut self, number: usize) -> Result<Lost> {
        let Some(pod) = self.pods.get(number) else { bail!("--url: no address is given") };
        let path = match self.state.named() {
            [] => "/v1/stream".to_owned(),
            named => {
                let named: Vec<String> = named.iter().map(ToString::to_string).collect();
                format!("/v1/stream?pairs={}", named.join(","))
            }
        };
        let last = self.state.last().map(str::to_owned);
        self.screen.redraw(&self.state, self.clock.now())?;
        let mut redraw = interval(REDRAW);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let opened = {
            let mut connecting = pin!(pod.follow(&path, last.as_deref()));
            loop {
                tokio::select! {
                    opened = &mut connecting => break opened,
                    _ = redraw.tick() => self.screen.redraw(&self.state, self.clock.now())?,
                }
            }
        };
        let mut events = match opened {
            Ok(events) => events,
            Err(StreamError::Unreachable(why)) => return Ok(Lost { why, wait: None }),
            Err(StreamError::Refused(response)) => return refused(pod, &response, &mut self.state),
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
            match Message::read(&sent) {
                Ok(Message::Event(event)) => self.show(event, &sent)?,
                Ok(Message::End(why)) => return Ok(Lost { why, wait: None }),
                // Ignore kinds of events that only later versions know.
                Ok(Message::Other) => {}
                Err(error) => {
                    return Ok(Lost { why: format!("the pod sent an invalid event: {error}"), wait: None });
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

    /// Waits, and shows a countdown.
    async fn show_until(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            self.screen.redraw(&self.state, self.clock.now())?;
            sleep_until(until.min(Instant::now() + REDRAW)).await;
        }
        Ok(())
    }
}

/// Decides what a response that is not an event stream means: try again later, or give up with an error.
fn refused(pod: &PodClient, response: &Response, state: &mut State) -> Result<Lost> {
    let why = match pod.reason(response) {
        reason if reason.is_empty() => format!("the pod responded with {}", response.status),
        reason => reason,
    };
    match response.status {
        StatusCode::CONFLICT | StatusCode::GONE if state.last().is_some() => {
            let why = match state.refused(response.status == StatusCode::GONE) {
                true => format!("{why}; starting again with the newest events"),
                false => why,
            };
            return Ok(Lost { why, wait: None });
        }
        _ if state.has_been_connected() => {}
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {}
        _ => return Err(pod.refusal(response)),
    }
    Ok(Lost { why, wait: response.retry_after() })
}

/// How long to wait after this number of failures in a row. The wait is at least as long as the pod `asked` for, up to
/// [`MAX_WAIT`]. A part of the wait is random, so that clients that have lost the same pod do not reconnect all at once.
fn wait(
    first: Duration,
    failures: u32,
    asked: Option<Duration>,
    chance: impl FnOnce(u64) -> u64,
) -> Duration {
    let longest = first * 2_u32.pow(failures.min(MAX_DOUBLINGS));
    let half = longest / 2;
    let wait = half + Duration::from_millis(chance(u64::try_from(half.as_millis()).unwrap_or_default()));
    wait.max(asked.unwrap_or_default().min(MAX_WAIT))
}

#[cfg(test)]
mod tests;
