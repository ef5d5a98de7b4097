//! The kinds of hostile clients.

use std::net::SocketAddr;

use testkit::hostile::clients::{self, SHAPES, address, get, get_once, repeat, send, trickle, upgrade};
use tokio::{net::TcpStream, task::JoinSet};

use crate::stage::PAIR;

/// How many connections one client opens within the default rate limit.
const UNREAD: u16 = 590;

/// How many clients stall on a stream, and how many read one from the beginning.
pub(crate) const STREAMS: u16 = 200;

/// A kind of hostile clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    Unread,
    StalledEvents,
    StalledSockets,
    LargeByOne,
    LargeByMany,
    Shapes,
}

/// Hostile clients that are running. Dropping this disconnects them.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    tasks: JoinSet<()>,
    held: Vec<TcpStream>,
}

impl Attack {
    pub(crate) const ALL: [Self; 6] = [
        Self::Unread,
        Self::StalledEvents,
        Self::StalledSockets,
        Self::LargeByOne,
        Self::LargeByMany,
        Self::Shapes,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unread => "590 unread pages of candles",
            Self::StalledEvents => "200 stalled event streams",
            Self::StalledSockets => "200 stalled WebSockets",
            Self::LargeByOne => "large pages, one client a kind",
            Self::LargeByMany => "large pages, many clients",
            Self::Shapes => "slow, half-open and wrong requests",
        }
    }

    pub(crate) async fn begin(self, server: SocketAddr) -> Crowd {
        let mut crowd = Crowd::default();
        match self {
            Self::Unread => {
                let request = get(&candles());
                for _ in 0..UNREAD {
                    crowd.stall(server, 1, &request).await;
                }
            }
            Self::StalledEvents => {
                for number in 0..STREAMS {
                    crowd.stall(server, number, &get("/v1/stream?after=0")).await;
                }
            }
            Self::StalledSockets => {
                for number in 0..STREAMS {
                    crowd.stall(server, number, &upgrade("/v1/ws?after=0")).await;
                }
            }
            Self::LargeByOne => crowd.ask_for_large(server, |kind, _| kind),
            Self::LargeByMany => crowd.ask_for_large(server, |kind, number| kind * 1_000 + number),
            Self::Shapes => {
                for number in 0..STREAMS {
                    trickle(&mut crowd.tasks, server, address(number));
                }
                for (shape, number) in SHAPES.iter().cycle().zip(0..UNREAD) {
                    crowd.stall(server, number, shape).await;
                }
            }
        }
        crowd
    }
}

impl Crowd {
    /// Adds a client that sends a request and does not read. It may be refused.
    async fn stall(&mut self, server: SocketAddr, client: u16, request: &[u8]) {
        self.held.extend(send(server, address(client), request, true).await.ok());
    }

    /// Adds a client that reads what is sent.
    pub(crate) async fn read(
        &mut self,
        server: SocketAddr,
        client: u16,
        request: &[u8],
    ) -> std::io::Result<()> {
        let stream = send(server, address(client), request, false).await?;
        clients::read(&mut self.tasks, stream);
        Ok(())
    }

    /// Adds clients that repeat the largest requests.
    fn ask_for_large(&mut self, server: SocketAddr, client: impl Fn(u16, u16) -> u16) {
        let kinds = [
            (32, format!("/v1/prices/{PAIR}/history?limit=10000")),
            (16, candles()),
            (16, format!("/v1/prices/{PAIR}/history?max_points=10000")),
            (STREAMS, "/v1/stream?after=0".to_owned()),
        ];
        for (kind, (count, path)) in (1..).zip(kinds) {
            for number in 0..count {
                repeat(&mut self.tasks, server, address(client(kind, number)), get_once(&path));
            }
        }
    }
}

fn candles() -> String {
    format!("/v1/prices/{PAIR}/candles?interval=1m&limit=10000")
}
