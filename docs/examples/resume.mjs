// Follows the feed on NATS, and continues where it stopped: node resume.mjs SERVER STATE_FILE [KEY_FILE [TIME]]
//
// At the first start, it prints the newest record of each pair, and then all records that follow. After a restart, it
// continues after the last record that it printed. With TIME, such as 2026-11-21T00:00:00Z, the first start begins with the
// first record that was stored at or after that time. Needs the packages @nats-io/transport-node and @nats-io/jetstream.

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, nkeyAuthenticator } from "@nats-io/transport-node";

const [STREAM, SUBJECTS] = ["TICKS", "ticks.>"];

// How long a time without a record means that something is wrong. Every slot has a record, and there is a slot every
// 10 s by default. A few slots may pass until another poller or NATS server takes over.
const SILENCE_MS = 30_000;

// The stream's creation time and the position of the last record; undefined at the first start.
function load(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
}

function save(path, created, sequence) {
  writeFileSync(`${path}.new`, JSON.stringify([created, sequence]));
  renameSync(`${path}.new`, path);
}

// Prints records until something fails.
async function follow(connection, stateFile, time) {
  // The key of the feed may not ask for the state of the whole account, so the client must not check that.
  const manager = await jetstreamManager(connection, { checkAPI: false });
  const { created } = await manager.streams.info(STREAM);
  let state = load(stateFile);
  if (state && state[0] !== created) {
    console.error("the log was replaced; starting with the newest records");
    state = undefined;
  }
  let start = { deliver_policy: DeliverPolicy.LastPerSubject };
  if (state) {
    start = { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: state[1] + 1 };
  } else if (time) {
    start = { deliver_policy: DeliverPolicy.StartTime, opt_start_time: time };
  }
  const config = { ack_policy: AckPolicy.None, filter_subject: SUBJECTS, ...start };
  const { name } = await manager.consumers.add(STREAM, config);
  const consumer = await jetstream(connection, { checkAPI: false }).consumers.get(STREAM, name);
  let delivered = 0;
  for (;;) {
    const before = delivered;
    // This fails if the consumer no longer exists.
    for await (const message of await consumer.fetch({ max_messages: 100, expires: SILENCE_MS })) {
      // The server counts what it delivers. If the count is not the next number, the connection was lost or the server
      // was restarted on the way, so begin again after the last record that was printed.
      delivered += 1;
      if (message.info.deliverySequence !== delivered) {
        throw new Error("records were lost or repeated on the way");
      }
      const record = message.json();
      if (record.version > 2) {
        console.error("a record has a format that this program does not know; upgrade this program");
        process.exit(1);
      }
      // The newest record of a pair may also be a gap (no price) or a lead (another poller took over).
      console.log(message.seq, record.kind, record.pair, record.price ?? "-");
      save(stateFile, created, message.seq);
    }
    if (delivered === before) {
      throw new Error(`no record for ${SILENCE_MS / 1000} s`);
    }
  }
}

const [server, stateFile, keyFile, time] = process.argv.slice(2);
const seed = keyFile && new TextEncoder().encode(readFileSync(keyFile, "utf8").trim());
const connection = await connect({
  servers: server,
  authenticator: seed && nkeyAuthenticator(seed),
  maxReconnectAttempts: -1,
});
for (;;) {
  await follow(connection, stateFile, time).catch((error) => console.error(`${error.message}; retrying`));
  await sleep(1_000);
}
