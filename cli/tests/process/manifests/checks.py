"""Checks that the manifests of an overlay agree with each other and with the binary, beyond what a schema can check.

usage: checks.py BINARY OVERLAY DRAIN_SECONDS. Prints a line for each fault.
"""

import ipaddress
import json
import os
import pathlib
import re
import sys
import tempfile
import tomllib

from network import End, allows, connects, matches
from pods import Product, bytes_of, check_pod, check_probes, faults, hold, ports_of
from rendered import OURS, WORKSPACE, Manifests, output

# The size of one record in the log with seven sources, including planned fields. docs/operations.md has the
# measurements ("How large the log gets").
RECORD_BYTES = 2_160

PRODUCT, OVERLAY = Product(sys.argv[1], float(sys.argv[3])), sys.argv[2]


def check_selectors(manifests, templates):
    labels = {component: template["metadata"]["labels"] for component, (template, _) in templates.items()}

    def picked(selector):
        return [component for component in labels if matches(selector, labels[component])]

    for item in manifests.of("StatefulSet", "Deployment"):
        name, own = item["metadata"]["name"], item["spec"]["template"]["metadata"]["labels"]
        hold(picked(item["spec"]["selector"]) == [own[OURS + "component"]], name, "its selector must match its own pods only")
        service = item["spec"].get("serviceName")
        found = service and manifests.find("Service", service)
        is_headless = found and found["spec"].get("clusterIP") == "None"
        hold(service is None or is_headless, name, f"{service} is not a headless Service")
    for item in manifests.of("Service"):
        name, found = item["metadata"]["name"], picked({"matchLabels": item["spec"]["selector"]})
        hold(len(found) == 1, name, f"must select one component, selects {found}")
        for port in item["spec"]["ports"]:
            hold(
                found and port["targetPort"] in ports_of(templates[found[0]][0]), name, f"no pod has the port {port['targetPort']}"
            )
    for item in manifests.of("PodDisruptionBudget"):
        name, spec = item["metadata"]["name"], item["spec"]
        hold(len(picked(spec["selector"])) == 1, name, "must select one component")
        hold(len({"minAvailable", "maxUnavailable"} & set(spec)) == 1, name, "must have one of minAvailable and maxUnavailable")
    for item in manifests.of("NetworkPolicy"):
        name, spec = item["metadata"]["name"], item["spec"]
        hold(picked(spec["podSelector"]), name, "selects no pod")
        rules = [(kind, rule) for kind in ["ingress", "egress"] for rule in spec.get(kind, [])]
        types = spec.get("policyTypes", [])
        hold(types and set(types) <= {"Ingress", "Egress"}, name, f"policyTypes {types}")
        hold(all(kind.title() in types for kind, _ in rules), name, "has rules of a kind that is not in policyTypes")
        for peer in [peer for _, rule in rules for peer in rule.get("from", []) + rule.get("to", [])]:
            hold("podSelector" not in peer or "namespaceSelector" in peer or picked(peer["podSelector"]), name, f"finds no {peer}")
            for text in [peer["ipBlock"]["cidr"], *peer["ipBlock"].get("except", [])] if "ipBlock" in peer else []:
                inside = ipaddress.ip_network(text).subnet_of(ipaddress.ip_network(peer["ipBlock"]["cidr"]))
                hold(inside, name, f"{text} is not in {peer['ipBlock']['cidr']}")


def check_network(manifests, templates):
    """The connections that the policies allow must be exactly those that are listed here."""
    home, policies = {"kubernetes.io/metadata.name": "tickwell"}, manifests.of("NetworkPolicy")

    def foreign_pod(name):
        return End(name, namespace={"kubernetes.io/metadata.name": name}, labels={OURS + "name": name})

    def address(name, text):
        return End(name, address=text)

    pods = [
        End(component, template["metadata"]["labels"], home, ports_of(template)) for component, (template, _) in templates.items()
    ]
    others = [foreign_pod(name) for name in ["ingress-nginx", "monitoring", "default"]]
    others.append(End("subscribers", namespace={"kubernetes.io/metadata.name": "any", "tickwell-feed": "allowed"}))
    system = {"kubernetes.io/metadata.name": "kube-system"}
    servers_of_names = [End(app, {"k8s-app": app}, system, {"dns": 53}) for app in ["kube-dns", "node-local-dns"]]
    # The OpenTelemetry collector.
    collector = foreign_pod("monitoring")
    outside = [address("internet", "104.16.0.1"), address("internet6", "2606:4700::1")]
    inside = [address("metadata", "169.254.169.254"), address("node", "10.0.0.1"), address("node6", "fd00::1")]

    through = set()
    for source in pods + others:
        for target in pods:
            through |= {
                (source.name, target.name, port)
                for port in target.ports.values()
                if connects(policies, home, source, target, port)
            }
    for source in pods:
        for target in outside + inside + servers_of_names + [collector]:
            for port in [22, 53, 80, 443, 4318, 6443]:
                through |= {(source.name, target.name, port)} if connects(policies, home, source, target, port) else set()
        for names in servers_of_names:
            hold(connects(policies, home, source, names, 53, "UDP"), source.name, f"cannot send DNS queries to {names.name}")

    expected = {(pod.name, names.name, 53) for pod in pods for names in servers_of_names}
    expected |= {("poller", "nats", 4222), ("api", "nats", 4222), ("log", "nats", 4222), ("subscribers", "nats", 4222)}
    expected |= {("log-backup", "nats", 4222)} if "log-backup" in templates else set()
    expected |= {("nats", "nats", 6222), ("ingress-nginx", "api", 8080), ("smoke", "api", 8080)}
    expected |= {("monitoring", "poller", 9090), ("monitoring", "api", 9090), ("monitoring", "nats", 8222)}
    if manifests.of("PodMonitor"):
        expected |= {("poller", "monitoring", 4318), ("api", "monitoring", 4318)}
    expected |= {("poller", "internet", 443), ("poller", "internet6", 443)}
    by_name = {pod.name: pod for pod in pods}
    tried = allows(policies, home, "Egress", by_name["smoke"], by_name["api"], 9090, "TCP")
    hold(tried, "smoke", "cannot reach port 9090 because of its own policy, so it does not test the policy of the pods")
    for source, target, port in through ^ expected:
        hold(False, "network", f"{source} {'reaches' if (source, target, port) in through else 'does not reach'} {target}:{port}")


def check_monitors(manifests, templates):
    """Each PodMonitor must select one component, and a port of it that serves metrics and that Prometheus may reach."""
    selected = []
    for item in manifests.of("PodMonitor"):
        name, spec = item["metadata"]["name"], item["spec"]
        found = [
            component for component in templates if matches(spec["selector"], templates[component][0]["metadata"]["labels"])
        ]
        hold(len(found) == 1, name, f"must select one component, selects {found}")
        ports = [(endpoint["port"], endpoint["path"]) for endpoint in spec["podMetricsEndpoints"]]
        hold(ports == [("admin", "/metrics")] and "admin" in ports_of(templates[found[0]][0]), name, f"has the ports {ports}")
        selected += found
    hold(sorted(selected) in ([], ["api", "poller"]), "monitors", f"select {selected}")


def check_priorities(manifests, templates):
    """The NATS servers and the Job tickwell-log have the highest priority, then pollers, then API pods, then the smoke test."""
    values = {item["metadata"]["name"]: item["value"] for item in manifests.of("PriorityClass")}
    own = {component: values.get(templates[component][0]["spec"].get("priorityClassName"), 0) for component in templates}
    order = own["nats"] == own["log"] > own["poller"] > own["api"] > own["smoke"] == 0
    hold(order, "priorities", f"are in the wrong order: {own}")
    named = [item for item in manifests.of("PriorityClass") if "namespace" in item["metadata"]]
    hold(not named, "priorities", "must not have a namespace")


def check_claims(manifests):
    """Volumes must be kept when the StatefulSet that uses them is deleted or scaled down."""
    for item in manifests.of("StatefulSet"):
        policy = item["spec"].get("persistentVolumeClaimRetentionPolicy")
        retained = policy == {"whenDeleted": "Retain", "whenScaled": "Retain"}
        hold(retained, item["metadata"]["name"], f"its claims must be retained, not {policy}")


def check_autoscalers(manifests):
    for item in manifests.of("HorizontalPodAutoscaler"):
        name, spec = item["metadata"]["name"], item["spec"]
        reference = spec["scaleTargetRef"]
        target = manifests.find(reference["kind"], reference["name"])
        hold(target and "replicas" not in target["spec"], name, "its target does not exist, or sets its own number of replicas")
        hold(1 < spec["minReplicas"] <= spec["maxReplicas"], name, "minReplicas must be more than 1 and at most maxReplicas")


def check_ingress(manifests):
    """Checks that the Ingress routes the paths in the OpenAPI document, except those for operators."""
    operators = {"/livez", "/readyz", "/metrics"}
    documented = set(json.loads((WORKSPACE / "docs/openapi.json").read_text())["paths"]) - operators
    for item in manifests.of("Ingress"):
        name = item["metadata"]["name"]
        rules = [path for rule in item["spec"]["rules"] for path in rule["http"]["paths"]]
        for rule in rules:
            backend = rule["backend"]["service"]
            service = manifests.find("Service", backend["name"])
            exists = service and backend["port"]["name"] in [port["name"] for port in service["spec"]["ports"]]
            hold(exists, name, f"there is no {backend}")
            # Unless the type is ImplementationSpecific, ingress-nginx accepts only paths that match this expression.
            plain = re.fullmatch(r"/[A-Za-z0-9_/-]*", rule["path"]) or rule["pathType"] == "ImplementationSpecific"
            hold(plain, name, f"ingress-nginx refuses {rule['path']} with pathType {rule['pathType']}")

        # ImplementationSpecific is treated as Exact, because every controller matches at least the exact path.
        def routed(path):
            return any(
                path == rule["path"] or (rule["pathType"] == "Prefix" and path.startswith(rule["path"].rstrip("/") + "/"))
                for rule in rules
            )

        for path in documented | {"/", "/docs", "/docs/errors", "/favicon.ico", "/openapi.json", "/asyncapi.yaml"}:
            hold(routed(path), name, f"{path} is not routed")
        for path in operators | {"/admin/backup"}:
            hold(not routed(path), name, f"{path} is routed")


def check_log(manifests):
    """A year of records must fit into the stream, the stream into the server's limit, and that limit onto the volume."""
    feed = tomllib.loads(output(PRODUCT.binary, "config", "example"))["feed"]
    stream, lease = (json.loads((WORKSPACE / "nats" / name).read_text()) for name in ["stream.json", "lease.json"])
    records = len(feed["pairs"]) * stream["max_age"] / 10**9 / int(feed["interval"].removesuffix("s"))
    limit = stream["max_bytes"]
    hold(records * RECORD_BYTES < limit, "nats", f"max_bytes {limit} is too small for {records:.0f} records")
    _, owner = manifests.pods()["nats"]
    settings = next(item["data"] for item in manifests.of("ConfigMap") if "nats.conf" in item["data"])["nats.conf"]
    allowed = re.search(r"^\s*max_file_store:\s*(\S+)", settings, re.MULTILINE)[1]
    claim = owner["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    # The server needs room for the log, a mirror of the log, and the lease's bucket.
    hold(bytes_of(allowed) > 2 * limit + lease["max_bytes"], "nats", f"max_file_store {allowed} is too small for the log")
    # The file system needs some of a volume for itself.
    hold(bytes_of(claim) > 1.1 * bytes_of(allowed), "nats", f"a volume of {claim} is too small for {allowed}")
    container = owner["spec"]["template"]["spec"]["containers"][0]
    memory = {entry["name"]: entry.get("value") for entry in container["env"]}["GOMEMLIMIT"]
    memory_limit = container["resources"]["limits"]["memory"]
    hold(bytes_of(memory) < bytes_of(memory_limit), "nats", f"GOMEMLIMIT must be less than {memory_limit}")
    leaving = sum(
        int(re.search(rf"^\s*{name}:\s*\"(\d+)s\"", settings, re.MULTILINE)[1])
        for name in ["lame_duck_grace_period", "lame_duck_duration"]
    )
    grace = owner["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    hold(grace > leaving, "nats", f"is killed before its clients have moved to other servers, which takes {leaving} s")


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("TICKWELL_CONFIG", None)
        keys = pathlib.Path(folder) / "keys"
        output(PRODUCT.binary, "log", "keys", keys)
        manifests = Manifests(OVERLAY, keys)
    templates = manifests.pods()
    for component, (template, owner) in templates.items():
        check_pod(PRODUCT, manifests, component, template, owner)
    check_probes(templates)
    check_selectors(manifests, templates)
    check_network(manifests, templates)
    check_monitors(manifests, templates)
    check_priorities(manifests, templates)
    check_claims(manifests)
    check_autoscalers(manifests)
    check_ingress(manifests)
    check_log(manifests)
    print("\n".join(faults))
    sys.exit(1 if faults else 0)


main()
