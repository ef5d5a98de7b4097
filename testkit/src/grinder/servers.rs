//! What is done to the servers at each check, and the state they must be in afterwards.

use std::time::Duration;

use anyhow::Context as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::log;
use super::play::Play;
use super::stage::STREAM;
use crate::nats::replicas::{self, Inspection};
use crate::wait::poll_until;

/// So many servers of a cluster die before each check, one at a time. What a server does wrong while it recovers
/// shows only if records come before, during and after; between the other steps there is often no majority to
/// store any. With a stream that is compressed by `s2`, about every third of these deaths damages a block.
const DEATHS: usize = 4;

/// How many records are published while a server is away, and after it is back. Each pair has one per slot.
const RECORDS: u64 = 4;

/// How long they may take. It usually takes seconds.
const DEADLINE: Duration = Duration::from_secs(180);

impl Play {
    /// Servers of a cluster are killed and started again one at a time, while the feed runs.
    pub(super) async fn servers_die_in_turn(&mut self) -> anyhow::Result<()> {
        let count = self.stage.servers.len();
        if count == 1 {
            return Ok(());
        }
        let mut chance = StdRng::seed_from_u64(self.options.seed.wrapping_add(self.log.last()));
        for _death in 0..DEATHS {
            let victim = self.stage.servers.get_mut(chance.random_range(0..count)).context("a server")?;
            victim.kill();
            self.report.count("kill -9 of nats");
            self.records_come(RECORDS).await.context("with one server away")?;
            let victim = self.stage.servers.iter_mut().find(|server| !server.is_running());
            victim.context("the server that was killed")?.restart().await?;
            replicas::wait_until_healthy(&self.stage.servers, STREAM).await?;
            self.report.add("health check of nats", count);
            self.records_come(RECORDS).await.context("with all servers back")?;
        }
        Ok(())
    }

    /// The servers must be sound, also after a clean restart. After a rollback, they have all just been restarted.
    pub(super) async fn inspect_servers(&mut self) -> anyhow::Result<()> {
        let servers = &mut self.stage.servers;
        let Inspection { health_checks, restarts, records } = match self.options.rollback {
            None => replicas::inspect(servers, STREAM).await?,
            Some(_) => Inspection {
                health_checks: servers.len(),
                restarts: 0,
                records: replicas::are_sound(servers, STREAM).await?,
            },
        };
        self.report.add("health check of nats", health_checks);
        self.report.add("clean restart of nats", restarts);
        self.report.count("comparison of replicas");
        self.report.replicated = records;
        Ok(())
    }

    /// Waits until the log has this many more records.
    pub(super) async fn records_come(&self, count: u64) -> anyhow::Result<()> {
        let url = &self.stage.url;
        let first = poll_until(DEADLINE, async || log::last_sequence(url).await).await;
        let first = first.context("the log does not answer")?;
        let more = async || log::last_sequence(url).await.filter(|last| *last >= first + count);
        poll_until(DEADLINE, more).await.map(|_| ()).context("no records")
    }
}
