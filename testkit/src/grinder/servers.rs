//! Kills and restarts the servers at each check, and checks that their copies of the log are the same afterwards.

use std::time::Duration;

use anyhow::Context as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::log;
use super::play::Play;
use super::stage::STREAM;
use crate::nats::replicas::{self, Inspection};
use crate::wait::poll_until;

/// How many times a server of a cluster is killed before each check, one server at a time. A mistake of a recovering
/// server shows only if records are stored before, during and after its downtime. Between the steps of the plan, often
/// too few servers run to store any records. If the stream is compressed with `s2`, about one in three of these
/// kills damages a block.
const KILLS: usize = 4;

/// How many records must be published while a server is down, and after it has recovered. Each pair gets one record per
/// slot.
const RECORDS: u64 = 4;

/// How long to wait for new records, which usually takes seconds.
const DEADLINE: Duration = Duration::from_secs(180);

impl Play {
    /// Kills and restarts servers of a cluster one at a time, while the feed runs.
    pub(super) async fn servers_die_in_turn(&mut self) -> anyhow::Result<()> {
        let count = self.stage.servers.len();
        if count == 1 {
            return Ok(());
        }
        let mut chance = StdRng::seed_from_u64(self.options.seed.wrapping_add(self.log.last()));
        for _kill in 0..KILLS {
            let victim = self.stage.servers.get_mut(chance.random_range(0..count)).context("a server")?;
            victim.kill();
            self.report.count("kill -9 of nats");
            self.records_come(RECORDS).await.context("with one server down")?;
            let victim = self.stage.servers.iter_mut().find(|server| !server.is_running());
            victim.context("the server that was killed")?.restart().await?;
            replicas::wait_until_healthy(&self.stage.servers, STREAM).await?;
            self.report.add("health check of nats", count);
            self.records_come(RECORDS).await.context("with all servers running again")?;
        }
        Ok(())
    }

    /// Checks that the servers are sound, and that they still are after a clean restart. After a rollback, all servers
    /// have just been restarted, so they are not restarted again.
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
        let first = first.context("the log does not respond")?;
        let more = async || log::last_sequence(url).await.filter(|last| *last >= first + count);
        poll_until(DEADLINE, more).await.map(|_| ()).context("the log got no new records")
    }
}
