"""A server between a program and a pod, which makes pages of lists short, or refuses requests."""

import http.client
import http.server
import json
import re
import threading
import urllib.parse

# The rows of a page.
ROWS = 2

# Why a request is refused.
REASON = "this server refuses the request"

# Longer than a pod takes, also on a slow machine.
DEADLINE_SECONDS = 180


class Between:
    """Lists have pages of `ROWS` rows, and begin at the time `start`. From the request number `refused` on, all are 429."""

    def __init__(self, pod, start=None, refused=None):
        self.requests = 0
        between = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                between.requests += 1
                if refused and between.requests >= refused:
                    body = json.dumps({"status": 429, "code": "rate_limited", "detail": REASON}).encode()
                    return self.reply(429, {"content-type": "application/problem+json"}, body)
                connection = http.client.HTTPConnection(urllib.parse.urlsplit(pod).netloc, timeout=DEADLINE_SECONDS)
                connection.request("GET", short(self.path, start))
                response = connection.getresponse()
                headers = {name: response.getheader(name) for name in ("content-type", "link") if response.getheader(name)}
                return self.reply(response.status, headers, response.read())

            def reply(self, status, headers, body):
                self.send_response(status)
                for name, value in (headers | {"content-length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def short(path, start):
    """The same request for fewer rows."""
    if "limit=" not in path:
        return path
    path = re.sub(r"limit=\d+", f"limit={ROWS}", path)
    return path if start is None or "from=" in path else f"{path}&from={start}"
