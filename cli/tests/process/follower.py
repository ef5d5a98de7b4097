"""Clients of the streams, written with third-party libraries: sseclient-py, the standard library, and websockets.

    follower.py COUNT URL URL...

Four clients run one after the other: server-sent events, lines of JSON, WebSocket, and server-sent events again. Each reads
COUNT events and disconnects. The next client continues after the last event, at the next pod. The first client begins with
the oldest event. The events are printed to stdout, one per line. The caller checks them.
"""

import asyncio
import itertools
import json
import sys
import urllib.request

import sseclient
import websockets

TIMEOUT_SECONDS = 60

# Ignores the proxy settings of the environment, because the pods run on this machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url, headers):
    return DIRECT.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)


def server_sent(url, last, count):
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    # The library parses the lines of an event.
    with ask(f"{url}/v1/stream?after=0", headers) as response:
        events = itertools.islice(sseclient.SSEClient(response).events(), count)
        for event in events:
            data = json.loads(event.data)
            if (event.id, event.event) != (data["id"], data["kind"]):
                raise ValueError(f"{event.id} {event.event} does not match {event.data}")
            yield data


def lines(url, last, count):
    with ask(f"{url}/v1/stream?after={last}", {"Accept": "application/x-ndjson"}) as response:
        found = (json.loads(line) for line in response if line.strip())
        yield from itertools.islice(found, count)


def socket(url, last, count):
    async def read():
        address = url.replace("http://", "ws://") + f"/v1/ws?after={last}"
        async with websockets.connect(address, open_timeout=TIMEOUT_SECONDS, proxy=None) as stream:
            return [json.loads(await asyncio.wait_for(stream.recv(), TIMEOUT_SECONDS)) for _ in range(count)]

    yield from asyncio.run(read())


def main():
    count, urls, last = int(sys.argv[1]), itertools.cycle(sys.argv[2:]), None
    for client in (server_sent, lines, socket, server_sent):
        for event in client(next(urls), last, count):
            print(json.dumps(event))
            last = event["id"]


main()
