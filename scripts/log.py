"""Copies a stream out of a NATS server and back, through JetStream's own snapshots. See scripts/log."""

import asyncio
import json
import os
import pathlib
import sys

import nats

# A server answers, or sends the next piece, much sooner.
PATIENCE_SECONDS = 30
# A piece of a copy; a server takes messages of 1 MB at most unless told otherwise.
PIECE_BYTES = 128 * 1024
DESCRIPTION, CONTENT = "backup.json", "stream.tar.s2"


def understand(message):
    """The server's answer, or its error as ours."""
    answer = json.loads(message.data)
    if "error" in answer:
        sys.exit(f"the server refuses: {answer['error'].get('description', answer['error'])}")
    return answer


def progress(done, whole):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{done / 1e6:.1f} MB of {whole / 1e6:.0f} MB uncompressed", end="", file=sys.stderr)


async def backup(client, folder, stream):
    if folder.exists():
        sys.exit(f"{folder} is there already: name another folder")
    # Under another name until it is whole.
    growing = folder.with_name(folder.name + ".part")
    pieces = await client.subscribe(inbox := client.new_inbox())
    asked = {"deliver_subject": inbox, "no_consumers": True, "chunk_size": PIECE_BYTES}
    answer = await client.request(
        f"$JS.API.STREAM.SNAPSHOT.{stream}", json.dumps(asked).encode(), timeout=PATIENCE_SECONDS
    )
    told = understand(answer)
    growing.mkdir(parents=True)
    done = 0
    with open(growing / CONTENT, "wb") as content:
        while True:
            piece = await pieces.next_msg(timeout=PATIENCE_SECONDS)
            if not piece.data:
                # An end that is a failure says so in its head; 204 is the end of all there is.
                if (status := (piece.headers or {}).get("Status", "204")) != "204":
                    sys.exit(f"the server broke off: {status} {(piece.headers or {}).get('Description', '')}")
                break
            content.write(piece.data)
            done += len(piece.data)
            progress(done, told["state"]["bytes"])
            # The server sends on when it is told that this one is here, where it asks for that.
            if piece.reply:
                await piece.respond(b"")
        content.flush()
        os.fsync(content.fileno())
    description = {"config": told["config"], "state": told["state"]}
    (growing / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    growing.rename(folder)
    state = told["state"]
    print(f"{stream}: {state['messages']} messages, up to sequence {state['last_seq']}, in {folder}: {done} bytes")


async def restore(client, folder, stream):
    description = json.loads((folder / DESCRIPTION).read_text())
    if description["config"]["name"] != stream:
        sys.exit(f"{folder} holds the stream {description['config']['name']}, not {stream}")
    answer = await client.request(
        f"$JS.API.STREAM.RESTORE.{stream}", json.dumps(description).encode(), timeout=PATIENCE_SECONDS
    )
    target = understand(answer)["deliver_subject"]
    with open(folder / CONTENT, "rb") as content:
        done = 0
        while piece := content.read(PIECE_BYTES):
            taken = await client.request(target, piece, timeout=PATIENCE_SECONDS)
            if taken.data:
                understand(taken)
            done += len(piece)
            progress(done, description["state"]["bytes"])
    told = understand(await client.request(target, b"", timeout=PATIENCE_SECONDS))
    print(f"{stream}: {told['state']['messages']} messages, up to sequence {told['state']['last_seq']}, created {told['created']}")


def credentials_file():
    return os.environ.get("TICKWELL__BUS__CREDENTIALS_FILE", "")


def credentials():
    """What the client library is told of the file, which holds a bare seed or is a .creds file."""
    path = credentials_file()
    if not path:
        return {}
    is_seed = pathlib.Path(path).read_text().lstrip().startswith("SU")
    return {"nkeys_seed" if is_seed else "user_credentials": path}


async def main():
    if len(sys.argv) not in (3, 4, 5) or sys.argv[1] not in ("backup", "restore"):
        sys.exit("usage: scripts/log backup|restore FOLDER [URL] [STREAM]")
    url = sys.argv[3] if len(sys.argv) > 3 else os.environ.get("TICKWELL__BUS__URL", "nats://127.0.0.1:4222")
    stream = sys.argv[4] if len(sys.argv) > 4 else os.environ.get("TICKWELL__BUS__STREAM", "TICKS")
    this, refusals = asyncio.current_task(), []

    async def take_in(error):
        # A right that is missing is told beside the request, which would wait for its answer in vain.
        if "violation" in str(error).lower():
            refusals.append(str(error))
            this.cancel()

    try:
        client = await nats.connect(
            url, inbox_prefix=b"_INBOX_admin", allow_reconnect=False, connect_timeout=5, error_cb=take_in, **credentials()
        )
    except (nats.errors.Error, OSError) as error:
        sys.exit(f"cannot connect to {url} with TICKWELL__BUS__CREDENTIALS_FILE={credentials_file()}: {error}")
    try:
        act = backup if sys.argv[1] == "backup" else restore
        await act(client, pathlib.Path(sys.argv[2]), stream)
    except asyncio.CancelledError:
        if not refusals:
            raise
        sys.exit(f"the server refuses: {refusals[0]}; nats/README.md says which rights this key needs")
    finally:
        await client.close()


asyncio.run(main())
