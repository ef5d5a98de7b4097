//! Follows the feed on NATS, and continues where it stopped: `resume SERVER STATE_FILE [KEY_FILE [TIME]]`
//!
//! At the first start, it prints the newest record of each pair, and then all records that follow. After a restart, it
//! continues after the last record that it printed. With TIME, such as 2026-11-21T00:00:00Z, the first start begins with
//! the first record that was stored at or after that time. Needs the crates async-nats (with the feature `chrono`),
//! chrono, futures, serde, serde_json and tokio.

use std::{error::Error, fs, time::Duration};

use async_nats::{
    ConnectOptions,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, pull},
    },
};
use futures::StreamExt;
use serde::Deserialize;

const STREAM: &str = "TICKS";
const SUBJECTS: &str = "ticks.>";

/// How long a time without a record means that something is wrong. Every slot has a record, and there is a slot every
/// 10 s by default. A few slots may pass until another poller or NATS server takes over.
const SILENCE: Duration = Duration::from_secs(30);

/// The state of the stream, as far as this program needs it.
#[derive(Deserialize)]
struct Info {
    created: String,
}

/// A record, as far as this program needs it.
#[derive(Deserialize)]
struct Record {
    version: u64,
    kind: String,
    pair: String,
    /// Only a tick has a price.
    price: Option<String>,
}

type Time = chrono::DateTime<chrono::Utc>;
type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, state_file, more @ ..] = arguments.as_slice() else {
        return Err("usage: resume SERVER STATE_FILE [KEY_FILE [TIME]]".into());
    };
    let options = match more.first() {
        Some(key_file) => ConnectOptions::with_nkey(fs::read_to_string(key_file)?.trim().to_owned()),
        None => ConnectOptions::new(),
    };
    let time = more.get(1).map(|time| time.parse()).transpose()?;
    // After a lost connection, the client reconnects on its own.
    let feed = jetstream::new(options.connect(server).await?);
    loop {
        match follow(&feed, state_file, time).await {
            Ok(()) => {
                return Err(
                    "a record has a format that this program does not know; upgrade this program".into()
                );
            }
            Err(error) => eprintln!("{error}; retrying"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Prints records until something fails, or until a record has an unknown format.
async fn follow(feed: &jetstream::Context, state_file: &str, time: Option<Time>) -> Result<(), Failure> {
    let client = feed.client();
    let info = client.request(format!("$JS.API.STREAM.INFO.{STREAM}"), "".into()).await?;
    let Info { created } = serde_json::from_slice(&info.payload)?;
    let deliver_policy = match load(state_file)? {
        Some((log, sequence)) if log == created => {
            DeliverPolicy::ByStartSequence { start_sequence: sequence + 1 }
        }
        Some(_) => {
            eprintln!("the log was replaced; starting with the newest records");
            DeliverPolicy::LastPerSubject
        }
        None => {
            time.map_or(DeliverPolicy::LastPerSubject, |start_time| DeliverPolicy::ByStartTime { start_time })
        }
    };
    let config = pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        filter_subject: SUBJECTS.to_owned(),
        ..pull::Config::default()
    };
    let stream = feed.get_stream_no_info(STREAM).await?;
    let mut records = stream.create_consumer(config).await?.messages().await?;
    let mut delivered = 0;
    loop {
        let next = tokio::time::timeout(SILENCE, records.next()).await;
        let next = next.map_err(|_elapsed| format!("no record for {SILENCE:?}"))?;
        // This is also an error if the consumer no longer exists.
        let message = next.ok_or("the consumer has ended")??;
        let record: Record = serde_json::from_slice(&message.payload)?;
        let info = message.info()?;
        // The server counts what it delivers. If the count is not the next number, the connection was lost or the server
        // was restarted on the way, so begin again after the last record that was printed.
        delivered += 1;
        if info.consumer_sequence != delivered {
            return Err("records were lost or repeated on the way".into());
        }
        if record.version > 2 {
            return Ok(());
        }
        // The newest record of a pair may also be a gap (no price) or a lead (another poller took over).
        let price = record.price.as_deref().unwrap_or("-");
        println!("{} {} {} {price}", info.stream_sequence, record.kind, record.pair);
        save(state_file, &created, info.stream_sequence)?;
    }
}

/// The stream's creation time and the position of the last record; `None` at the first start.
fn load(path: &str) -> Result<Option<(String, u64)>, Failure> {
    if !fs::exists(path)? {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
}

fn save(path: &str, created: &str, sequence: u64) -> Result<(), Failure> {
    let new = format!("{path}.new");
    fs::write(&new, serde_json::to_vec(&(created, sequence))?)?;
    Ok(fs::rename(new, path)?)
}
