"""Prints Tickwell's records from NATS as they are published: python subscribe.py [SERVER] [SUBJECT]

Each line has the pair, the slot, and the price or the reason why there is no price. Needs the package nats-py.
"""

import asyncio
import json
import sys

import nats


async def report(error):
    """Without this, nats-py prints a traceback whenever it cannot reach the server."""
    print(f"NATS: {error!r}", file=sys.stderr)


async def main(server="nats://127.0.0.1:4222", subject="ticks.>"):
    connection = await nats.connect(server, max_reconnect_attempts=-1, error_cb=report)
    subscription = await connection.subscribe(subject)
    print(f"waiting for records on {subject}; stop with Ctrl-C", file=sys.stderr)
    async for message in subscription.messages:
        record = json.loads(message.data)
        if record["version"] > 2:
            sys.exit("a record has a newer format version that this program does not know; upgrade this program")
        if record["kind"] == "tick":
            print(record["pair"], record["slot"], record["price"], flush=True)
        elif record["kind"] == "gap":
            print(record["pair"], record["slot"], "no price:", record["cause"], flush=True)


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass
