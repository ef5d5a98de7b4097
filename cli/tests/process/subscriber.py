"""A subscriber that uses only nats-py and docs/asyncapi.yaml.

    subscriber.py NATS_URL ASYNCAPI_YAML COUNT

It subscribes to the subjects until it has received COUNT records. Then it reads the stream from its first record with an
ordered consumer, until it has received the same records again. Every message is checked with the document's schemas. The
results are printed to stdout as one JSON object. The caller checks them.
"""

import asyncio
import json
import sys

import nats
import yaml
from jsonschema import Draft202012Validator
from nats.js.api import ConsumerConfig, DeliverPolicy
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = "urn:tickwell:asyncapi"
SCHEMAS = {"tick": "Tick", "gap": "Gap", "lead": "Lead"}


class Contract:
    """The schemas of the document. All references must be within the document."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            document = yaml.safe_load(file)
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self.registry = Registry().with_resource(DOCUMENT, resource)
        self.errors = []

    def check(self, schema, value, where):
        reference = {"$ref": f"{DOCUMENT}#/components/schemas/{schema}"}
        validator = Draft202012Validator(reference, registry=self.registry)
        for error in validator.iter_errors(value):
            self.errors.append(f"{where}: {schema} {error.json_path}: {error.message}")

    def expect(self, found, wanted, where):
        if found != wanted:
            self.errors.append(f"{where}: {found!r} is not {wanted!r}")

    def record(self, message, where):
        """Checks one message, and returns its record."""
        record = json.loads(message.data)
        headers = dict(message.headers or {})
        self.check(SCHEMAS.get(record.get("kind"), "Tick"), record, where)
        self.check("Headers", headers, where)
        last = f"lead:{record['epoch']}" if record["kind"] == "lead" else record["slot"]
        self.expect(headers.get("Nats-Msg-Id"), f"{record['pair']}:{last}", f"{where}: Nats-Msg-Id")
        self.expect(message.subject, "ticks." + record["pair"].replace("-", "."), f"{where}: subject")
        return record


async def listen(client, contract, count):
    """Receives records as they are published. Returns them by their ids."""
    subscription = await client.subscribe("ticks.BTC.*")
    heard = {}
    while len(heard) < count:
        message = await subscription.next_msg(timeout=120)
        contract.record(message, f"heard {len(heard)}")
        heard[message.headers["Nats-Msg-Id"]] = message.data
    await subscription.unsubscribe()
    return heard


async def replay(client, contract, heard):
    """Reads the stream from its first record until it has received everything in `heard` again."""
    config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=1)
    stream = client.jetstream()
    subscription = await stream.subscribe("ticks.>", stream="TICKS", ordered_consumer=True, config=config)
    unseen, newest, ids, replayed = dict(heard), {}, set(), []
    while unseen:
        message = await subscription.next_msg(timeout=120)
        sequence = message.metadata.sequence.stream
        where = f"sequence {sequence}"
        record = contract.record(message, where)
        before = message.headers.get("Nats-Expected-Last-Subject-Sequence")
        contract.expect(before, str(newest.get(message.subject, 0)), f"{where}: expected last sequence")
        newest[message.subject] = sequence
        message_id = message.headers["Nats-Msg-Id"]
        contract.expect(message_id in ids, False, f"{where}: duplicate id")
        ids.add(message_id)
        if message_id in unseen:
            contract.expect(message.data, unseen.pop(message_id), f"{where}: as heard")
        members = ("kind", "pair", "slot", "price", "epoch", "cause")
        replayed.append({"sequence": sequence} | {name: record.get(name) for name in members})
    return replayed


async def main(url, document, count):
    contract = Contract(document)
    client = await nats.connect(url)
    heard = await listen(client, contract, int(count))
    replayed = await replay(client, contract, heard)
    await client.close()
    print(json.dumps({"heard": len(heard), "replayed": replayed, "errors": contract.errors}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
