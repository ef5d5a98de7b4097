"""Evaluates NetworkPolicies like a network plugin: a connection must be allowed by the policies of both ends.

An end is one of our pods (from its template), or a foreign one, given by the labels of its namespace or by its address.
"""

import ipaddress
from dataclasses import dataclass, field


@dataclass
class End:
    name: str
    labels: dict = field(default_factory=dict)
    namespace: dict = field(default_factory=dict)
    ports: dict = field(default_factory=dict)
    address: str = ""


def matches(selector, labels):
    """Whether a label selector matches these labels. An empty selector matches all."""

    def holds(rule):
        values = rule.get("values", [])
        value = labels.get(rule["key"])
        operators = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        return operators[rule["operator"]]

    exact = selector.get("matchLabels", {}).items()
    return all(labels.get(key) == value for key, value in exact) and all(map(holds, selector.get("matchExpressions", [])))


def is_peer(peer, end, home):
    if "ipBlock" in peer:
        if not end.address:
            return False
        block, address = peer["ipBlock"], ipaddress.ip_address(end.address)
        inside = [address in ipaddress.ip_network(text) for text in block.get("except", [])]
        return address in ipaddress.ip_network(block["cidr"]) and not any(inside)
    if end.address:
        return False
    namespaces = peer.get("namespaceSelector")
    near = end.namespace == home if namespaces is None else matches(namespaces, end.namespace)
    return near and matches(peer.get("podSelector", {}), end.labels)


def allows(policies, home, direction, own, other, port, protocol):
    """Whether the policies of one end allow a connection. If no policy selects the end, everything is allowed."""
    if own.namespace != home:
        return True
    concerned = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"] and matches(policy["spec"]["podSelector"], own.labels)
    ]
    listener = own if direction == "Ingress" else other

    def rule_allows(rule):
        peers = rule.get("from" if direction == "Ingress" else "to")
        ports = rule.get("ports")
        at_peer = peers is None or any(is_peer(peer, other, home) for peer in peers)
        wanted = [(listener.ports.get(entry["port"], entry["port"]), entry.get("protocol", "TCP")) for entry in ports or []]
        return at_peer and (ports is None or (port, protocol) in wanted)

    rules = [rule for spec in concerned for rule in spec.get(direction.lower(), [])]
    return not concerned or any(map(rule_allows, rules))


def connects(policies, home, source, target, port, protocol="TCP"):
    return allows(policies, home, "Egress", source, target, port, protocol) and allows(
        policies, home, "Ingress", target, source, port, protocol
    )
