"""Follows the feed on NATS, and continues where it stopped: python resume.py SERVER STATE_FILE [KEY_FILE [TIME]]

At the first start, it prints the newest record of each pair, and then all records that follow. After a restart, it
continues after the last record that it printed. With TIME, such as 2026-11-21T00:00:00Z, the first start begins with the
first record that was stored at or after that time. Needs the packages nats-py and nkeys.
"""

import asyncio
import json
import os
import sys
from datetime import datetime

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

STREAM, SUBJECTS = "TICKS", "ticks.>"

# How many seconds without a record mean that something is wrong. Every slot has a record, and there is a slot every 10 s
# by default. A few slots may pass until another poller or NATS server takes over.
SILENCE = 30


def load(path):
    """The stream's creation time and the position of the last record; None at the first start."""
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def save(path, created, sequence):
    with open(path + ".new", "w") as file:
        json.dump([created, sequence], file)
    os.replace(path + ".new", path)


async def report(error):
    """Without this, nats-py prints a traceback whenever it cannot reach the server."""
    print(f"NATS: {error!r}", file=sys.stderr)


async def main(server, state_file, key_file=None, time=None):
    connection = await nats.connect(server, nkeys_seed=key_file, max_reconnect_attempts=-1, error_cb=report)
    while True:
        try:
            info = json.loads((await connection.request(f"$JS.API.STREAM.INFO.{STREAM}", timeout=5)).data)
            created, state = info["created"], load(state_file)
            if state and state[0] != created:
                print("the log was replaced; starting with the newest records", file=sys.stderr)
                state = None
            config = ConsumerConfig(ack_policy=AckPolicy.NONE, filter_subject=SUBJECTS)
            if state:
                config.deliver_policy, config.opt_start_seq = DeliverPolicy.BY_START_SEQUENCE, state[1] + 1
            elif time:
                config.deliver_policy, config.opt_start_time = DeliverPolicy.BY_START_TIME, datetime.fromisoformat(time)
            else:
                config.deliver_policy = DeliverPolicy.LAST_PER_SUBJECT
            records = await connection.jetstream().pull_subscribe(SUBJECTS, stream=STREAM, config=config)
            delivered = 0
            while True:
                # This fails if no record arrives in time, also if the consumer no longer exists.
                for message in await records.fetch(100, timeout=SILENCE):
                    record, sequence = json.loads(message.data), message.metadata.sequence
                    # The server counts what it delivers. If the count is not the next number, the connection was lost or
                    # the server was restarted on the way, so begin again after the last record that was printed.
                    delivered += 1
                    if sequence.consumer != delivered:
                        raise nats.errors.Error("records were lost or repeated on the way")
                    if record["version"] > 2:
                        sys.exit("a record has a format that this program does not know; upgrade this program")
                    # The newest record of a pair may also be a gap (no price) or a lead (another poller took over).
                    print(sequence.stream, record["kind"], record["pair"], record.get("price", "-"), flush=True)
                    save(state_file, created, sequence.stream)
        except (nats.errors.Error, nats.js.errors.Error, KeyError) as error:
            # KeyError: there is no such stream, for example while the operator replaces it.
            print(f"no record for {SILENCE} s, or NATS failed ({error!r}); retrying", file=sys.stderr)
            await asyncio.sleep(1)


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        pass
