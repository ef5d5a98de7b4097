"""A stand-in for kubectl that simulates a cluster, which a test describes.

`kubectl get` runs the real program (REAL_KUBECTL) with a small API server in this process, so that the scripts' selectors
and templates are tested too. Other commands are only recorded, and get their results from the description.

The variable SCENE is the path of a directory:
  scene.json   {"pods": {COMPONENT: [PODS, …]}, "jobs": [JOB, …], "rollouts": {NAME: SECONDS}, "events": [EVENT, …],
                "ports": {POD: PORT}, "logs": {SELECTOR OR POD: TEXT}}
               A list contains the states at the first request, the second, and so on. The last one is repeated.
  calls        a line with the arguments of each call
"""

import fcntl
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOLDER = pathlib.Path(os.environ["SCENE"])
SCENE = {"pods": {}, "jobs": []} | json.loads((FOLDER / "scene.json").read_text())
COMPONENT = "app.kubernetes.io/component"
KINDS = {"v1": ["Pod", "Secret", "ConfigMap", "Event"], "batch/v1": ["Job"]}


def turn(name, states):
    """Returns the next of these states. Several processes may call this at the same time."""
    with (FOLDER / f"turn-{name}").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        count = len(file.read())
        file.write(".")
    return states[min(count, len(states) - 1)]


def found(path, query):
    """The object or list at a path of the API."""
    _, _, rest = path.partition("/namespaces/tickwell/")
    kind, _, name = rest.partition("/")
    if kind == "pods" and name:
        [pod] = turn(name, SCENE["pods"].get("smoke", [[{"status": {}}]]))
        return pod
    if kind == "pods":
        selector = dict(part.split("=") for part in query.get("labelSelector", [""])[0].split(","))
        component = selector[COMPONENT]
        return {"kind": "PodList", "apiVersion": "v1", "items": turn(component, SCENE["pods"].get(component, [[]]))}
    if kind == "events":
        return {"kind": "EventList", "apiVersion": "v1", "items": SCENE.get("events", [])}
    if kind == "jobs":
        return turn("jobs", SCENE["jobs"])
    return {"kind": kind.removesuffix("s").title(), "apiVersion": "v1", "metadata": {"name": name}}


def discovered(path):
    """The responses to kubectl's discovery requests."""
    group = {"groupVersion": "batch/v1", "version": "v1"}
    fixed = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "groups": [{"name": "batch", "versions": [group], "preferredVersion": group}]},
    }
    if path in fixed:
        return fixed[path]
    version = path.removeprefix("/apis/").removeprefix("/api/")
    resources = [
        {"name": kind.lower() + "s", "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["get", "list"]}
        for kind in KINDS[version]
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


class Api(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        asked = "/namespaces/" in url.path
        answer = found(url.path, urllib.parse.parse_qs(url.query)) if asked else discovered(url.path)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def get(arguments):
    api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    command = [os.environ["REAL_KUBECTL"], "--server", f"http://127.0.0.1:{api.server_port}"]
    return subprocess.run([*command, "--cache-dir", FOLDER / "cache", *arguments], check=False).returncode


def main(arguments):
    with (FOLDER / "calls").open("a") as calls:
        calls.write(" ".join(arguments) + "\n")
    words = [word for word in arguments if word not in ("--namespace", "tickwell")]
    if words[0] == "get":
        return get(arguments)
    if words[0] == "kustomize":
        return subprocess.run([os.environ["REAL_KUBECTL"], *arguments], check=False).returncode
    if words[0] == "apply":
        sys.stdin.read()
    if words[:2] == ["rollout", "status"]:
        time.sleep(SCENE.get("rollouts", {}).get(words[2], 0))
    if words[0] == "logs":
        print("".join(text for of, text in SCENE.get("logs", {}).items() if of in arguments), end="")
    if words[0] == "port-forward":
        print(f"Forwarding from 127.0.0.1:{SCENE['ports'][words[1]]} -> {words[2]}", flush=True)
        time.sleep(3600)
    return 0


sys.exit(main(sys.argv[1:]))
