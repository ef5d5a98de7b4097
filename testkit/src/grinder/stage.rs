//! The servers, the venues and the processes of one run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;

use super::member::{Member, Role, Setting};
use super::plan::LEASE;
use super::{Options, plan::Target};
use crate::faketime::FakeTime;
use crate::market::WalkMarket;
use crate::nats::{NatsCluster, NatsServer, create_stream};
use crate::upstream::FakeUpstream;

/// The number of pollers: a leader and a standby.
pub(super) const POLLERS: usize = 2;

pub(super) const PAIRS: [&str; 2] = ["BTC-USD", "ETH-USD"];

/// The NATS stream that contains the log.
pub(super) const STREAM: &str = "TICKS";

/// The interval between slots. It is short, so that there are many slots.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// All servers and processes.
pub(super) struct Stage {
    pub(super) servers: Vec<NatsServer>,
    paused_servers: Vec<bool>,
    pub(super) url: String,
    pub(super) members: Vec<Member>,
    /// The settings that all processes share.
    pub(super) environment: Vec<(String, String)>,
    pub(super) has_clocks: bool,
    _upstream: FakeUpstream,
}

impl Stage {
    pub(super) async fn start(options: &Options) -> anyhow::Result<Self> {
        let (servers, url) = if options.cluster {
            let cluster = NatsCluster::start().await?;
            let url = cluster.url();
            (cluster.nodes, url)
        } else {
            let server = NatsServer::start().await?;
            let url = server.url();
            (vec![server], url)
        };
        if let Some(compression) = &options.compression {
            let options =
                [("compression", compression.as_str().into()), ("num_replicas", servers.len().into())];
            create_stream(&url, &options).await?;
        }
        let upstream =
            FakeUpstream::start(Arc::new(WalkMarket::new(options.seed, INTERVAL)?), "127.0.0.1:0").await?;
        let setting = Setting {
            binary: options.binary.canonicalize()?,
            folder: options.folder.canonicalize()?,
            environment: environment(&upstream, &url, servers.len()),
        };
        let environment = setting.environment.clone();
        let time = FakeTime::find_or_skip();
        let named = (1..=POLLERS).map(|number| (format!("poller-{number}"), Role::Poller));
        let named = named.chain((1..=options.pods).map(|number| (format!("pod-{number}"), Role::Pod)));
        let mut members = Vec::new();
        for (name, role) in named {
            let file = setting.folder.join(format!("{name}.clock"));
            let clock = time.as_ref().map(|time| time.clock(&file)).transpose()?;
            let mut member = Member::new(name, role, setting.clone(), clock);
            member.start()?;
            members.push(member);
        }
        let paused_servers = vec![false; servers.len()];
        Ok(Self {
            servers,
            paused_servers,
            url,
            members,
            environment,
            has_clocks: time.is_some(),
            _upstream: upstream,
        })
    }

    pub(super) fn name(&self, target: Target) -> String {
        match target {
            Target::Server(number) => format!("nats-{}", number + 1),
            Target::Member(number) => {
                self.members.get(number).map_or_else(String::new, |member| member.name.clone())
            }
        }
    }

    /// Kills the target. Returns whether it was running.
    pub(super) fn kill(&mut self, target: Target) -> anyhow::Result<bool> {
        match target {
            Target::Server(number) => {
                let Some(server) = self.servers.get_mut(number) else { return Ok(false) };
                let ran = server.is_running();
                server.kill();
                self.unmark_paused(number);
                Ok(ran)
            }
            Target::Member(number) => self.members.get_mut(number).map_or(Ok(false), Member::kill),
        }
    }

    /// Starts the target if it is not running.
    pub(super) async fn start_again(&mut self, target: Target) -> anyhow::Result<()> {
        match target {
            Target::Server(number) => match self.servers.get_mut(number) {
                Some(server) if !server.is_running() => {
                    let compressed = server.newest_is_compressed(STREAM)?;
                    ensure!(!compressed, "the newest block of nats-{} is compressed", number + 1);
                    server.restart().await
                }
                _ => Ok(()),
            },
            Target::Member(number) => self.members.get_mut(number).map_or(Ok(()), Member::start),
        }
    }

    /// Pauses the target. Returns whether it was running.
    pub(super) fn pause(&mut self, target: Target) -> anyhow::Result<bool> {
        match target {
            Target::Server(number) => {
                let (Some(server), Some(paused)) =
                    (self.servers.get(number), self.paused_servers.get_mut(number))
                else {
                    return Ok(false);
                };
                if *paused || !server.is_running() {
                    return Ok(false);
                }
                server.pause()?;
                *paused = true;
                Ok(true)
            }
            Target::Member(number) => self.members.get_mut(number).map_or(Ok(false), Member::pause),
        }
    }

    pub(super) fn resume(&mut self, target: Target) -> anyhow::Result<()> {
        match target {
            Target::Server(number) => {
                self.unmark_paused(number);
                self.servers.get(number).map_or(Ok(()), NatsServer::resume)
            }
            Target::Member(number) => match self.members.get_mut(number) {
                Some(member) if member.paused => member.resume(),
                _ => Ok(()),
            },
        }
    }

    /// Repairs everything: all processes run, with correct clocks.
    pub(super) async fn put_right(&mut self) -> anyhow::Result<()> {
        for number in 0..self.servers.len() {
            self.resume(Target::Server(number))?;
            self.start_again(Target::Server(number)).await?;
        }
        for member in &mut self.members {
            member.set_clock(0)?;
            if member.paused {
                member.resume()?;
            }
            member.start()?;
        }
        Ok(())
    }

    pub(super) fn pollers(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut().filter(|member| member.role == Role::Poller)
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.role == Role::Pod)
    }

    fn unmark_paused(&mut self, number: usize) {
        if let Some(paused) = self.paused_servers.get_mut(number) {
            *paused = false;
        }
    }
}

fn environment(upstream: &FakeUpstream, url: &str, replicas: usize) -> Vec<(String, String)> {
    let settings = [
        ("TICKWELL__FEED__PAIRS", PAIRS.join(",")),
        ("TICKWELL__FEED__INTERVAL", format!("{}ms", INTERVAL.as_millis())),
        ("TICKWELL__BACKFILL__SPAN", "3h".to_owned()),
        ("TICKWELL__BUS__URL", url.to_owned()),
        ("TICKWELL__BUS__LEASE", format!("{}ms", LEASE.as_millis())),
        ("TICKWELL__BUS__REPLICAS", replicas.to_string()),
        ("TICKWELL__API__LISTEN", "127.0.0.1:0".to_owned()),
        ("TICKWELL__API__RATE_LIMIT", "off".to_owned()),
        // Pods get the same request one after the other. No price may become stale between these requests.
        ("TICKWELL__WINDOWS__STALE_AFTER", "1h".to_owned()),
    ];
    let mut environment = upstream.environment();
    environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    environment
}
