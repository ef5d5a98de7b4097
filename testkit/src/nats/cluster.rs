//! A cluster of three servers.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use futures::future::try_join_all;

use super::{NatsServer, connect, operate::CLUSTER_CONFIGURATION};
use crate::wait::poll_until;

/// The smallest number of nodes with which a cluster still works after the loss of one.
const NODES: usize = 3;

/// `sync_interval` is the same as in the configuration that we ship, because it changes how a server recovers its
/// newest block. `max_file_store` is the same as for a single server.
const SETTINGS: &str = "jetstream { sync_interval: always, max_file_store: 64GB }\n";

/// How long the nodes may take to find each other. It usually takes a few seconds.
const MEETING_DEADLINE: Duration = Duration::from_secs(120);

/// The timeout of a request to a server that may be unavailable.
const ASK_TIME: Duration = Duration::from_secs(2);

/// A cluster of three nodes, each on its own port. Dropping it kills the nodes.
#[derive(Debug)]
pub struct NatsCluster {
    /// The nodes in the order of their names, `node-0` and so on.
    pub nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts three nodes with empty stores, and waits until a stream with three replicas can be created.
    ///
    /// # Errors
    ///
    /// Fails if nats-server is not installed, or the nodes do not find each other.
    pub async fn start() -> anyhow::Result<Self> {
        let arguments = meeting_arguments()?;
        let nodes = arguments.map(|own| NatsServer::start_with(SETTINGS, with_name(own)));
        let cluster = Self { nodes: try_join_all(nodes).await? };
        let met = poll_until(MEETING_DEADLINE, async || cluster.can_replicate().await.then_some(())).await;
        met.with_context(|| format!("the nodes did not find each other in {MEETING_DEADLINE:?}"))?;
        Ok(cluster)
    }

    /// Starts three nodes with the configuration that we ship, `nats/cluster.conf`, and these public keys. When this
    /// returns, the nodes may not have found each other yet.
    ///
    /// # Errors
    ///
    /// Fails if nats-server is not installed, or a node does not start.
    pub async fn start_shipped(keys: &str) -> anyhow::Result<Self> {
        let nodes =
            meeting_arguments()?.map(|own| NatsServer::start_shipped_with(keys, CLUSTER_CONFIGURATION, own));
        Ok(Self { nodes: try_join_all(nodes).await? })
    }

    /// The addresses for clients, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// The number of the node that leads this stream; `None` if there is no leader or the cluster does not respond.
    pub async fn leader_of(&self, stream: &str) -> Option<usize> {
        let asking = async {
            let context = jetstream::new(connect(&self.url()).await?);
            let info = context.get_stream(stream).await.ok()?.cached_info().clone();
            let name = info.cluster?.leader?;
            name.strip_prefix("node-")?.parse().ok()
        };
        tokio::time::timeout(ASK_TIME, asking).await.ok()?
    }

    /// Checks whether the cluster can create a stream with a replica on each node. Deletes the stream again.
    async fn can_replicate(&self) -> bool {
        let trying = async {
            let context = jetstream::new(connect(&self.url()).await?);
            let wanted = jetstream::stream::Config {
                name: "MEETING".to_owned(),
                subjects: vec!["meeting".to_owned()],
                num_replicas: NODES,
                ..Default::default()
            };
            context.create_stream(wanted).await.ok()?;
            context.delete_stream("MEETING").await.ok()
        };
        tokio::time::timeout(ASK_TIME, trying).await.ok().flatten().is_some()
    }
}

fn with_name(arguments: Vec<String>) -> Vec<String> {
    ["--cluster_name", "tickwell"].map(str::to_owned).into_iter().chain(arguments).collect()
}

/// The arguments with which nodes find each other.
fn meeting_arguments() -> std::io::Result<[Vec<String>; NODES]> {
    let routes = free_ports()?;
    let list = routes.map(|port| format!("nats://127.0.0.1:{port}")).join(",");
    let mut number = 0;
    Ok(routes.map(|port| {
        let name = format!("node-{number}");
        number += 1;
        let own = format!("nats://127.0.0.1:{port}");
        ["--name", &name, "--cluster", &own, "--routes", &list].map(str::to_owned).into()
    }))
}

/// Chooses free ports. They are chosen before the nodes start, because each node is started with the ports of all nodes.
fn free_ports() -> std::io::Result<[u16; NODES]> {
    let mut ports = [0; NODES];
    // All ports stay bound until the last one is chosen, so that they differ.
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::require_nats;

    #[tokio::test]
    async fn a_stream_survives_the_loss_of_its_leader() {
        require_nats!();
        let mut cluster = NatsCluster::start().await.unwrap();
        let context = jetstream::new(connect(&cluster.url()).await.unwrap());
        let wanted = jetstream::stream::Config {
            name: "KEPT".to_owned(),
            subjects: vec!["kept".to_owned()],
            num_replicas: NODES,
            ..Default::default()
        };
        context.create_stream(wanted).await.unwrap();
        context.publish("kept", "precious".into()).await.unwrap().await.unwrap();
        let leader =
            crate::wait_until("a leader", MEETING_DEADLINE, async || cluster.leader_of("KEPT").await);
        let leader = leader.await;
        cluster.nodes[leader].kill();
        let another = async || cluster.leader_of("KEPT").await.filter(|now| *now != leader);
        crate::wait_until("another leader", MEETING_DEADLINE, another).await;
        let kept =
            async || context.get_stream("KEPT").await.ok().map(|stream| stream.cached_info().state.messages);
        assert_eq!(crate::wait_until("the stream", MEETING_DEADLINE, kept).await, 1);
    }
}
