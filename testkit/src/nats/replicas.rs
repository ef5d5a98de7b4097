//! Checks whether the servers of a log are sound: each server is healthy, has the same records as the others, and will
//! be able to read its files at its next start.
//!
//! The records are read from each server's files, because there is no other way to see one server's own copy. Only the
//! stream's leader responds to requests about the stream. Any replica may respond to a direct get, whichever server
//! receives the request. `/jsz` can be the same on replicas with different records.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::jetstream;

use super::{Messages, NatsServer, connect};
use crate::wait::poll_until_ok;

/// How long servers may take to become healthy, and how long replicas may take until they contain the same messages.
/// Both usually take seconds. A loaded machine takes longer.
const DEADLINE: Duration = Duration::from_secs(180);

/// How long a server may take to write a message to its file. Until then, the message looks damaged. Writing usually
/// takes milliseconds. A loaded machine takes longer.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// The timeout of a request to servers that may be unavailable.
const ASK_TIME: Duration = Duration::from_secs(2);

/// What [`inspect`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inspection {
    /// How many times a server was found healthy.
    pub health_checks: usize,
    /// How many times a server was restarted cleanly.
    pub restarts: usize,
    /// How many records were the same on every server.
    pub records: usize,
}

/// Inspects the servers of a stream to which nobody is writing. All servers must be sound. Then they are restarted
/// cleanly, one at a time, and all must be sound again.
///
/// # Errors
///
/// Fails with the first problem, and the server that has it.
pub async fn inspect(servers: &mut [NatsServer], stream: &str) -> anyhow::Result<Inspection> {
    let mut inspection = Inspection::default();
    are_sound(servers, stream).await.context("before a clean restart")?;
    inspection.health_checks += servers.len();
    for number in 0..servers.len() {
        if let Some(server) = servers.get_mut(number) {
            server.stop().await?;
            server.restart().await?;
        }
        inspection.restarts += 1;
        let healthy = wait_until_healthy(servers, stream).await;
        healthy.with_context(|| format!("after a clean restart of nats-{}", number + 1))?;
        inspection.health_checks += servers.len();
    }
    inspection.records = are_sound(servers, stream).await.context("after a clean restart")?;
    Ok(inspection)
}

/// Waits until the servers of a stream are sound: healthy, with the same records, in files that they can read at their
/// next start. Returns how many records there are.
///
/// # Errors
///
/// Fails with what was still wrong when the time was over.
pub async fn are_sound(servers: &[NatsServer], stream: &str) -> anyhow::Result<usize> {
    wait_until_healthy(servers, stream).await?;
    blocks_are_sane(servers, stream).await?;
    Ok(same_records(servers, stream).await?.len())
}

/// Waits until each server reports that it is healthy, and the stream's leader reports that each replica has
/// everything.
///
/// # Errors
///
/// Fails with what was still wrong when the time was over.
pub async fn wait_until_healthy(servers: &[NatsServer], stream: &str) -> anyhow::Result<()> {
    poll_until_ok(DEADLINE, async || are_healthy(servers, stream).await).await
}

async fn are_healthy(servers: &[NatsServer], stream: &str) -> anyhow::Result<()> {
    for (number, server) in (1..).zip(servers) {
        server.health().await.with_context(|| format!("nats-{number}"))?;
    }
    let url = servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",");
    let asking = async {
        let context = jetstream::new(connect(&url).await.context("no connection")?);
        anyhow::Ok(context.get_stream(stream).await?.cached_info().clone())
    };
    let info = tokio::time::timeout(ASK_TIME, asking)
        .await
        .context("no response to the request for the stream's state")??;
    let Some(cluster) = info.cluster else { return Ok(()) };
    let leader = cluster.leader.unwrap_or_default();
    ensure!(!leader.is_empty(), "{stream} has no leader");
    for replica in cluster.replicas {
        let has_all = replica.current && !replica.offline && replica.lag.unwrap_or(0) == 0;
        ensure!(has_all, "{leader} does not consider {} current: {replica:?}", replica.name);
    }
    Ok(())
}

/// Waits until the files of all servers contain the same messages, and returns them. The newest messages may take a
/// moment to reach every server.
///
/// # Errors
///
/// Fails with the first message that still differed when the time was over, or with what is wrong with a server's
/// files.
pub async fn same_records(servers: &[NatsServer], stream: &str) -> anyhow::Result<Messages> {
    poll_until_ok(DEADLINE, async || compare(servers, stream)).await
}

/// Checks that each server was able to read its files at every start, and will be able to at its next start. The
/// servers may be running and writing to the files.
///
/// # Errors
///
/// Fails with the first server that could not read its copy of a stream, or like [`NatsServer::read_replica`].
pub async fn blocks_are_sane(servers: &[NatsServer], stream: &str) -> anyhow::Result<()> {
    poll_until_ok(WRITE_TIME, async || are_sane(servers, stream)).await
}

/// The reason that each unhealthy server reports.
pub async fn complaints(servers: &[NatsServer]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, server) in (1..).zip(servers) {
        if let Err(error) = server.health().await {
            complaints.push(format!("nats-{number}: {error:#}"));
        }
    }
    complaints
}

fn are_sane(servers: &[NatsServer], stream: &str) -> anyhow::Result<()> {
    for (number, server) in (1..).zip(servers) {
        let lost = server.lost_copies();
        ensure!(lost.is_empty(), "nats-{number} could not read its own copy: {}", lost.join("\n"));
        server.read_replica(stream).with_context(|| format!("nats-{number}"))?;
    }
    Ok(())
}

fn compare(servers: &[NatsServer], stream: &str) -> anyhow::Result<Messages> {
    let mut first: Option<Messages> = None;
    for (number, server) in (1..).zip(servers) {
        let found = server.read_replica(stream).with_context(|| format!("nats-{number}"))?;
        ensure!(found.compressed.is_empty(), "nats-{number} has compressed blocks: {:?}", found.compressed);
        match &first {
            Some(first) => {
                same(first, &found.messages).with_context(|| format!("nats-1 and nats-{number}"))?
            }
            None => first = Some(found.messages),
        }
    }
    first.context("no servers")
}

/// Checks that two replicas contain the same messages.
fn same(one: &Messages, other: &Messages) -> anyhow::Result<()> {
    for (sequence, message) in one {
        let found = other.get(sequence).with_context(|| format!("only one has the sequence {sequence}"))?;
        ensure!(found == message, "sequence {sequence} is {} and {}", text(message), text(found));
    }
    ensure!(one.len() == other.len(), "{} and {} messages", one.len(), other.len());
    Ok(())
}

fn text(message: &super::StoredMessage) -> String {
    format!("{} at {} ns", String::from_utf8_lossy(&message.payload), message.time_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{nats::NatsCluster, nats::create_stream, require_nats};

    const STREAM: &str = "TICKS";

    #[tokio::test]
    async fn a_sound_cluster_passes_and_a_replica_that_differs_or_is_damaged_is_found() {
        require_nats!();
        let mut cluster = NatsCluster::start().await.unwrap();
        create_stream(&cluster.url(), &[("num_replicas", 3.into())]).await.unwrap();
        let context = jetstream::new(connect(&cluster.url()).await.unwrap());
        for text in ["one", "two", "three"] {
            context.publish("ticks.BTC.USD", text.into()).await.unwrap().await.unwrap();
        }

        let found = inspect(&mut cluster.nodes, STREAM).await.unwrap();
        assert_eq!(found, Inspection { health_checks: 12, restarts: 3, records: 3 });
        let payloads = compare(&cluster.nodes, STREAM).unwrap().into_values().map(|message| message.payload);
        assert_eq!(payloads.collect::<Vec<_>>(), [&b"one"[..], b"two", b"three"]);

        cluster.nodes[1].stop().await.unwrap();
        assert!(cluster.nodes[1].health().await.is_err());
        let block = cluster.nodes[1].newest_block(STREAM).unwrap();
        let mut bytes = std::fs::read(&block).unwrap();
        let at = bytes.windows(5).position(|window| window == b"three").unwrap();
        bytes[at] = b'T';
        std::fs::write(&block, &bytes).unwrap();
        are_sane(&cluster.nodes, STREAM).unwrap();
        assert!(compare(&cluster.nodes, STREAM).is_err(), "another payload");
        bytes[..3].copy_from_slice(b"cmp");
        std::fs::write(&block, &bytes).unwrap();
        assert!(are_sane(&cluster.nodes, STREAM).is_err(), "a compressed newest block");

        // Repair the server: if its store is empty, the server gets a new copy of the stream from the other servers.
        cluster.nodes[1].wipe().unwrap();
        cluster.nodes[1].restart().await.unwrap();
        wait_until_healthy(&cluster.nodes, STREAM).await.unwrap();
        assert_eq!(same_records(&cluster.nodes, STREAM).await.unwrap().len(), 3);
    }
}
