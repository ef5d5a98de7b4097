"""Starts the pods of an overlay as plain processes of this machine, with the commands, arguments, environment variables and
mounted files of the rendered manifests, and with new keys. Then kills a leader and a NATS server.

usage: by_hand.py BINARY OVERLAY. The pods inherit variables TICKWELL__…. TICKWELL_NATS_SERVER may be the path of nats-server.

Differences from a cluster: a pod listens on ports of 127.0.0.1, its mounted paths are in a temporary directory, and the name
of a Service is replaced by the addresses of its pods.
"""

import asyncio
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from socket import socket

import nats
from network import matches
from rendered import Manifests, output

BINARY, OVERLAY = sys.argv[1:]
# The limit for waiting. It is so long that a run that succeeds never reaches it, even on a slow machine.
DEADLINE_SECONDS = 180
PROGRAMS = {"nats-server": os.environ.get("TICKWELL_NATS_SERVER") or shutil.which("nats-server")}


def wait_for(what, found):
    """Waits until `found` returns something other than None, and returns it."""
    until = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < until:
        if (answer := found()) is not None:
            return answer
        # Five requests per second, so that the pods' rate limit of 600 requests per minute is not reached.
        time.sleep(0.2)
    sys.exit(f"timed out after {DEADLINE_SECONDS} s waiting for: {what}")


def is_free(port):
    with socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


# Systems choose the ports of outgoing connections from a higher range. A port from that range could be taken before a pod
# uses it.
FREE_PORTS = filter(is_free, random.sample(range(15_000, 32_000), 1_000))


class Pod:
    """A pod of a component, as a process."""

    def __init__(self, manifests, component, name, folder):
        template, owner = manifests.pods()[component]
        [self.container] = template["spec"]["containers"]
        self.component, self.name, self.labels = component, name, template["metadata"]["labels"]
        self.patience_seconds = template["spec"].get("terminationGracePeriodSeconds", 30)
        self.folder, self.process = folder / name, None
        self.mounts = manifests.mounts(template, owner, self.container)
        ports = self.container.get("ports", [])
        self.named = {port["name"]: port["containerPort"] for port in ports}
        self.ports = {number: next(FREE_PORTS) for number in self.named.values()}

    def mounted(self, path):
        return self.folder / path.lstrip("/")

    def translated(self, text, world):
        """A text of the manifests, with the cluster's addresses and paths replaced by those on this machine."""
        for port, own in self.ports.items():
            text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{own}")
        text = re.sub(r"nats://([a-z0-9.-]+):(\d+)", lambda found: world.addresses(found[1], int(found[2])), text)
        for path in sorted(self.mounts, key=len, reverse=True):
            text = re.sub(rf"(?<![\w./]){re.escape(path)}\b", str(self.mounted(path)), text)
        return text

    def mount(self, world):
        self.folder.mkdir(exist_ok=True)
        for path, files in self.mounts.items():
            self.mounted(path).mkdir(parents=True, exist_ok=True)
            for name, text in (files or {}).items():
                (self.mounted(path) / name).write_text(self.translated(text, world))

    def start(self, world):
        # Without a command in the manifest, the image's entry point is used, which is the binary.
        first, *more = self.container.get("command", [BINARY]) + self.container.get("args", [])
        arguments = [PROGRAMS.get(first, first)] + [self.translated(argument, world) for argument in more]
        environment = {
            entry["name"]: self.translated(entry["value"], world) if "value" in entry else self.name
            for entry in self.container.get("env", [])
        }
        if self.component != "nats":
            environment |= {name: value for name, value in os.environ.items() if name.startswith("TICKWELL__")}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(arguments, env=environment, cwd=self.folder, stdout=log, stderr=log)

    def url(self, port, path=""):
        return f"http://127.0.0.1:{self.ports[self.named.get(port, port)]}{path}"

    def probe(self, kind):
        """Waits until a probe succeeds. The process must not exit before that."""
        probe = self.container[kind]["httpGet"]
        wait_for(f"{self.name}: {kind} {probe}", lambda: self.lives() and (get(self.url(**probe)) or (None,))[0] == 200 or None)

    def lives(self):
        return self.process.poll() is None or sys.exit(f"{self.name} exited with {self.process.returncode}")

    def metric(self, line_start):
        _, text = get(self.url("admin", "/metrics")) or (None, "")
        found = re.search(rf"^{re.escape(line_start)} (\S+)$", text, re.MULTILINE)
        return found and float(found[1])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """Terminates the pod as a kubelet does: runs the preStop hook, sends SIGTERM, and waits for the grace period."""
        began = time.monotonic()
        hook = self.container.get("lifecycle", {}).get("preStop", {}).get("exec")
        if hook:
            program, *more = hook["command"]
            # The hook contains the process id 1, which the process has in its container. Replace it with the id on this machine.
            subprocess.run([PROGRAMS[program], *[text.replace("=1", f"={self.process.pid}") for text in more]], check=True)
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(self.patience_seconds)
        except subprocess.TimeoutExpired:
            sys.exit(f"{self.name} would be killed: it did not exit within {self.patience_seconds} s")
        print(f"{self.name} exited with {code} after {time.monotonic() - began:.1f} s")
        # The exit code of nats-server may report the signal.
        if code != 0 and self.component != "nats":
            sys.exit(f"{self.name} did not exit with 0")


class World:
    """All pods of an overlay, and the names by which they find each other."""

    def __init__(self, manifests, folder):
        self.manifests, self.pods = manifests, []
        for component, (_, owner) in manifests.pods().items():
            for number in range(self.count(owner)):
                name = f"{owner['metadata']['name']}-{number}"
                self.pods.append(Pod(manifests, component, name, folder))
        for pod in self.pods:
            pod.mount(self)

    def count(self, owner):
        if owner["kind"] == "Pod":
            return 0
        scaled = [item["spec"] for item in self.manifests.of("HorizontalPodAutoscaler")]
        scaled = [spec for spec in scaled if spec["scaleTargetRef"]["name"] == owner["metadata"]["name"]]
        return scaled[0]["minReplicas"] if scaled else owner["spec"].get("replicas", 1)

    def of(self, component):
        return [pod for pod in self.pods if pod.component == component]

    def behind(self, service, port):
        """The pods that a Service selects, each with its port."""
        spec = self.manifests.find("Service", service)["spec"]
        [entry] = [entry for entry in spec["ports"] if entry["port"] == port]
        return [
            (pod, pod.named[entry["targetPort"]]) for pod in self.pods if matches({"matchLabels": spec["selector"]}, pod.labels)
        ]

    def addresses(self, host, port):
        """The NATS URLs of the pods behind a name in the cluster: a headless Service, or one of its pods."""
        *pod, service = host.split(".")
        if self.manifests.find("Service", service) is None:
            # There is no such Service: the name is only an example in a comment of the configuration.
            return f"nats://{host}:{port}"
        found = [it for it in self.behind(service, port) if not pod or it[0].name == pod[0]]
        # The configuration may list more servers than the overlay has. Nothing listens at the address that is used for those.
        return ",".join(f"nats://127.0.0.1:{it.ports[number]}" for it, number in found) or "nats://127.0.0.1:1"


def get(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None


def run_job(pod, world):
    """Runs a Job repeatedly until it succeeds."""

    def ends():
        for server in world.of("nats"):
            server.lives()
        pod.start(world)
        return True if pod.process.wait(DEADLINE_SECONDS) == 0 else None

    wait_for(f"{pod.name} succeeds", ends)
    print((pod.folder / "log").read_text().strip())


def leaders(world):
    return [
        pod
        for pod in world.of("poller")
        if pod.process.poll() is None and pod.metric('tickwell_lead_state{state="leading"}') == 1
    ]


def newest(pod):
    """The newest price with its slot and epoch; None if there is no price yet."""
    answer = get(pod.url("http", "/v1/prices/BTC-USD"))
    price = json.loads(answer[1]) if answer and answer[0] == 200 else None
    return price and (price["slot"], price["epoch"], price["price"])


def sees_more(pod, than):
    return wait_for(f"{pod.name} has a newer price", lambda: (found := newest(pod)) and (found if found[0] > than[0] else None))


def verify(world):
    urls = [pod.url("http") for pod in world.of("api")]
    done = subprocess.run([BINARY, "verify-pods", *urls], capture_output=True, text=True)
    print(done.stdout.strip().splitlines()[-1:], done.stderr.strip())
    if done.returncode != 0:
        sys.exit("pods do not agree")


def check_mirror(world):
    """Checks that the Job has created the mirror for external subscribers, and that the key of the role feed reads it."""
    [pod] = world.of("log")
    if "TICKS for external subscribers: created" not in (pod.folder / "log").read_text():
        sys.exit(f"{pod.name} did not create the mirror")
    servers = world.addresses("tickwell-nats", 4222).split(",")
    # The key is not stored in the cluster.
    found = wait_for("a record in the mirror", lambda: asyncio.run(mirror(servers, str(pod.folder.parent / "keys/feed.nk"))))
    print(f"the mirror has {found[0]} copies and record {found[1]}")
    if found[0] != len(world.of("nats")):
        sys.exit("the mirror must be on every server")


async def mirror(servers, key):
    """The number of the mirror's copies, and its newest position. None if it has no record or does not respond."""
    client = await nats.connect(servers, nkeys_seed=key)
    try:
        info = json.loads((await client.request("$JS.API.STREAM.INFO.TICKS", timeout=5)).data)
        newest = await client.request("$JS.API.DIRECT.GET.TICKS.ticks.BTC.USD", timeout=5)
        sequence = int((newest.headers or {}).get("Nats-Sequence", 0))
        return (info["config"]["num_replicas"], sequence) if "config" in info and sequence > 0 else None
    except nats.errors.Error:
        return None
    finally:
        await client.close()


def run(world):
    for pod in world.of("nats"):
        pod.start(world)
    [log] = world.of("log")
    run_job(log, world)
    running = world.of("nats") + world.of("poller") + world.of("api")
    for pod in running[len(world.of("nats")) :]:
        pod.start(world)
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"]:
        for pod in running:
            pod.probe(kind)
    api = world.of("api")[0]
    first = sees_more(api, ("", 0))
    print(f"price {first}")

    leader = wait_for("one leader", lambda: (found := leaders(world)) and len(found) == 1 and found[0] or None)
    standbys = [pod for pod in world.of("poller") if pod is not leader]
    if standbys:
        leader.kill()
        epoch = wait_for("a price of the next leader", lambda: (found := newest(api)) and (found if found[1] > first[1] else None))
        print(f"{leader.name} was killed; {[pod.name for pod in leaders(world)]} leads, price {epoch}")
        leader.start(world)
        leader.probe("readinessProbe")
    if len(world.of("nats")) > 1:
        lost = world.of("nats")[0]
        lost.kill()
        print(f"{lost.name} was killed; price {sees_more(api, sees_more(api, newest(api)))}")
        lost.start(world)
        lost.probe("readinessProbe")
    check_mirror(world)
    if len(world.of("api")) > 1:
        verify(world)
    for job in world.of("log-backup"):
        run_job(job, world)
        made = [sorted(path.name for path in backup.iterdir()) for backup in job.mounted("/backups").iterdir()]
        if made != [["SHA256SUMS", "backup.json", "stream.tar.s2"]]:
            sys.exit(f"{job.name} created {made}")
    for pod in world.of("poller") + world.of("api"):
        if pod.metric("tickwell_nats_denials_total") != 0:
            sys.exit(f"{pod.name} lacks a right at NATS")
    for pod in running[::-1]:
        pod.lives()
        pod.terminate()


def main():
    with tempfile.TemporaryDirectory() as text:
        folder = pathlib.Path(text)
        output(BINARY, "log", "keys", folder / "keys")
        world = World(Manifests(OVERLAY, folder / "keys"), folder)
        try:
            run(world)
        except BaseException:
            for pod in world.pods:
                log = pod.folder / "log"
                print(f"--- {pod.name}\n{log.read_text()[-4000:] if log.exists() else ''}", file=sys.stderr)
            raise
        finally:
            for pod in world.pods:
                if pod.process and pod.process.poll() is None:
                    pod.kill()


main()
