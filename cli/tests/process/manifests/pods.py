"""Checks that each pod agrees with the binary and follows good practice."""

import pathlib
import re
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass

from network import matches
from rendered import OURS, output

faults = []


@dataclass
class Product:
    """The binary, and how long it may take to drain."""

    binary: str
    drain_seconds: float


def hold(true, where, what):
    if not true:
        faults.append(f"{where}: {what}")


def bytes_of(quantity):
    """Parses sizes in the notation of Kubernetes or of nats-server, for which 1GB and 1GiB are the same."""
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]*)", str(quantity)).groups()
    powers = {"": 1, "MB": 2**20, "GB": 2**30, "Mi": 2**20, "MiB": 2**20, "Gi": 2**30, "GiB": 2**30}
    return int(number) * powers[unit]


def ports_of(template):
    containers = template["spec"]["containers"]
    return {port["name"]: port["containerPort"] for container in containers for port in container.get("ports", [])}


def settings_of(product, where, manifests, template, owner, container):
    """The settings with which one of our containers starts, as the binary itself reads them."""
    mounts = manifests.mounts(template, owner, container)
    environment = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
    file = pathlib.PurePath(environment["TICKWELL_CONFIG"])
    text = (mounts.get(str(file.parent)) or {}).get(file.name)
    if text is None:
        hold(False, where, f"nothing is mounted at {file}")
        return {}
    # The settings contain the path of the key file in the pod. On this machine, it is replaced with another file.
    key = pathlib.PurePath(tomllib.loads(text)["bus"].get("credentials_file", "/"))
    seed = (mounts.get(str(key.parent)) or {}).get(key.name)
    hold(seed, where, f"bus.credentials_file: nothing is mounted at {key}")
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / file.name).write_text(text)
        (pathlib.Path(folder) / key.name).write_text(seed or "")
        environment |= {"TICKWELL_CONFIG": f"{folder}/{file.name}"}
        environment |= {"TICKWELL__BUS__CREDENTIALS_FILE": f"{folder}/{key.name}"}
        for what in ["check", "show"]:
            done = subprocess.run([product.binary, "config", what], env=environment, capture_output=True, text=True)
            hold(done.returncode == 0, where, f"tickwell config {what}: {done.stderr.strip()}")
    return tomllib.loads(done.stdout) if done.returncode == 0 else {}


def port_of(address):
    return int(address.rpartition(":")[2])


def check_pod(product, manifests, component, template, owner):
    where, spec, labels = component, template["spec"], template["metadata"]["labels"]
    for name in ["name", "component", "version", "part-of", "managed-by"]:
        hold(labels.get(OURS + name), where, f"has no label {OURS}{name}")
    hold(spec.get("automountServiceAccountToken") is False, where, "gets a service account token")
    hold(spec.get("enableServiceLinks") is False, where, "gets environment variables for Services")
    pod = spec["securityContext"]
    hold(pod.get("runAsNonRoot") and pod.get("runAsUser", 0) > 0, where, "may run as root")
    hold(pod.get("seccompProfile") == {"type": "RuntimeDefault"}, where, "has no seccomp profile")
    for constraint in spec.get("topologySpreadConstraints", []):
        hold(matches(constraint["labelSelector"], labels), where, "spreads pods other than its own")
    for volume in spec.get("volumes", []):
        mode = volume.get("secret", {}).get("defaultMode", 0o440)
        is_private = mode == 0o440 and ("secret" not in volume or pod.get("fsGroup"))
        hold(is_private, where, "its key must be readable for its user and group only")
    for container in spec["containers"]:
        check_container(product, manifests, where, template, owner, container)


def check_container(product, manifests, where, template, owner, container):
    labels, security = template["metadata"]["labels"], container["securityContext"]
    hold(security.get("readOnlyRootFilesystem") is True, where, "may write to its root file system")
    hold(security.get("allowPrivilegeEscalation") is False, where, "may get more rights")
    hold(security.get("capabilities") == {"drop": ["ALL"]}, where, "has capabilities")
    image, _, tag = container["image"].rpartition(":")
    version = tag.removesuffix("-alpine")
    hold(version == labels.get(OURS + "version"), where, f"its version label differs from {container['image']}")
    resources = container["resources"]
    is_limited = "memory" in resources["limits"] and {"cpu", "memory"} <= set(resources["requests"])
    hold(is_limited, where, "has no memory limit, or no requests for CPU and memory")
    requested, limit = (bytes_of(resources[name]["memory"]) for name in ["requests", "limits"])
    hold(requested <= limit, where, "requests more memory than its limit")

    patience = template["spec"].get("terminationGracePeriodSeconds", 30)
    pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    try:
        mounts = manifests.mounts(template, owner, container)
    except KeyError as missing:
        return hold(False, where, str(missing))
    ports = ports_of(template)
    probes = [container[name]["httpGet"] for name in container if name.endswith("Probe")]
    hold(all(probe["port"] in ports for probe in probes), where, "a probe uses a port that the pod does not have")
    if not image.endswith("tickwell"):
        return None

    hold(tag == output(product.binary, "--version").split()[1], where, f"its version {tag} differs from the binary's")
    hold(patience >= pause + 2 * product.drain_seconds, where, "is killed while it drains")
    settings = settings_of(product, where, manifests, template, owner, container)
    if not settings:
        return None
    listening = {"http": settings["api"]["listen"], "admin": settings["admin"]["listen"]}
    hold(all(port_of(listening[name]) == port for name, port in ports.items()), where, f"listens on {listening}, not on {ports}")
    is_reachable = all(address.startswith("0.0.0.0:") for address in listening.values())
    hold(is_reachable, where, f"must listen on all addresses, not on {listening}")
    host, port = re.fullmatch(r"nats://([a-z-]+):(\d+)", settings["bus"]["url"]).groups()
    service = manifests.find("Service", host)
    hold(service and int(port) in [entry["port"] for entry in service["spec"]["ports"]], where, f"there is no {host}:{port}")
    servers = manifests.find("StatefulSet", "tickwell-nats")["spec"]["replicas"]
    hold(settings["bus"]["replicas"] == servers, where, f"bus.replicas must be {servers}, the number of servers")
    if where == "api":
        hold(
            settings["store"]["path"] in mounts and mounts[settings["store"]["path"]] is None,
            where,
            "its store is not on a volume",
        )
    return None


def check_probes(templates):
    """Startup and liveness probes only check whether the process is alive. They can restart a pod, so they must not depend
    on its log or its sources."""
    lives = {"poller": "/livez", "api": "/livez", "nats": "/healthz?js-enabled-only=true"}
    ready = {"poller": "/readyz", "api": "/readyz", "nats": "/healthz"}
    for component in lives:
        [container] = templates[component][0]["spec"]["containers"]
        paths = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ["startup", "liveness", "readiness"]]
        hold(paths == [lives[component], lives[component], ready[component]], component, f"probes use the paths {paths}")
