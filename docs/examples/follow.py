"""Prints every tick and gap from a pod, without losing any: python follow.py [URL] [PAIRS]

The program reads /v1/stream as NDJSON. After a lost connection it reconnects and resumes after the last event that it
has received, so no event is lost or repeated. It only needs Python's standard library. If the pod needs an API key, set the
variable TICKWELL_API_KEY.
"""

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request

KEY = {"X-API-Key": os.environ.get("TICKWELL_API_KEY", "")}


def detail(error):
    """Why the pod, or a proxy in front of it, refuses a request."""
    is_problem = "json" in error.headers.get_content_subtype()
    return json.load(error)["detail"] if is_problem else str(error)


def events(url, pairs):
    cursor = None
    while True:
        query = f"format=ndjson&pairs={pairs}" + (f"&after={cursor}" if cursor else "")
        try:
            # The pod sends an empty line every 15 seconds, so a longer silence means a dead connection.
            request = urllib.request.Request(f"{url}/v1/stream?{query}", headers=KEY)
            with urllib.request.urlopen(request, timeout=45) as lines:
                for line in lines:
                    event = json.loads(line) if line.strip() else None
                    if event and event["kind"] == "end":
                        print("the pod ended the stream:", event["code"], file=sys.stderr)
                    elif event:
                        cursor = event["id"]
                        yield event
            time.sleep(1)
        except urllib.error.HTTPError as error:
            reason = detail(error)
            if error.code == 409:
                cursor = None  # The log was replaced by another log, so start again with the newest events.
            elif error.code == 410:
                cursor = "0"  # The pod no longer has the next event, so continue with the oldest one that it has.
            elif error.code < 500 and error.code != 429:
                sys.exit(reason)
            print("reconnecting:", reason, file=sys.stderr)
            time.sleep(float(error.headers.get("Retry-After", 1)))
        except (OSError, ValueError, http.client.HTTPException) as error:
            print("reconnecting:", error, file=sys.stderr)
            time.sleep(1)


def main(url="http://127.0.0.1:8080", pairs="BTC-USD,ETH-USD"):
    for event in events(url, pairs):
        if event["kind"] == "tick":
            print(event["pair"], event["slot"], event["price"], flush=True)
        else:
            print(event["pair"], event["from"], "to", event["slot"], "no price:", event["cause"], flush=True)


try:
    main(*sys.argv[1:])
except (KeyboardInterrupt, BrokenPipeError):
    pass
