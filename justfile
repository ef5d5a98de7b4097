# Tickwell's everyday commands; `just` lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Docker, or another engine that takes the same words
engine := env("CONTAINER_ENGINE", "docker")
compose := env("COMPOSE", engine + " compose")
image := env("TICKWELL_IMAGE", "tickwell")

# List the recipes
default:
    @just --list --unsorted

# Everything in one process: poller, log and API
[group('run')]
run *arguments:
    cargo run -- {{ arguments }}

# A simulated market; works offline
[group('run')]
demo:
    cargo run -- run --demo

# Live prices in a terminal, from a running pod
[group('run')]
watch +pairs="BTC-USD ETH-USD":
    cargo run --quiet -- watch {{ pairs }}

# A fake upstream with recorded prices (or walk, or script), for developing without internet
[group('run')]
fake-upstream market="walk" *arguments:
    cargo run -p testkit --bin fake-upstream -- --market {{ market }} {{ arguments }}

# Tickwell against exchanges with faults, such as kraken=stuck bitstamp=451; without any, lists them
[group('run')]
lab *arguments:
    cargo build --quiet
    cargo run --quiet -p testkit --bin fault-lab -- \
        --binary "${CARGO_TARGET_DIR:-target}/debug/tickwell" {{ arguments }}

# A NATS server with JetStream on 127.0.0.1:4222, its data in .tools/nats
[group('run')]
nats:
    scripts/tools
    # The log may grow to 16 GiB. Without a limit of its own, a server refuses that where the disk has less left.
    echo 'jetstream { max_file_store: 34GiB, store_dir: .tools/nats }' >.tools/nats.conf
    .tools/venv/bin/nats-server --config .tools/nats.conf --addr 127.0.0.1

# The poller alone, over that server
[group('run')]
poller:
    TICKWELL__BUS__URL=nats://127.0.0.1:4222 cargo run -- poller

# An API pod alone, over that server
[group('run')]
api listen="127.0.0.1:8080" store="./data/pod":
    TICKWELL__BUS__URL=nats://127.0.0.1:4222 TICKWELL__API__LISTEN={{ listen }} \
        TICKWELL__STORE__PATH={{ store }} cargo run -- api

# Print every record of the feed on that server, as a plain subscriber sees it
[group('run')]
subscribe subject="ticks.>":
    scripts/tools
    .tools/venv/bin/python docs/examples/subscribe.py nats://127.0.0.1:4222 {{ quote(subject) }}

# All tests; installs what they need
[group('check')]
test *arguments:
    ./scripts/test {{ arguments }}

# Mutated answers and records against the parsers, the codec and the aggregator: [TARGET…] [--runs N]
[group('check')]
fuzz *arguments:
    ./scripts/fuzz {{ arguments }}

# All that the REST document allows and much that it does not, asked of a demo: [--max-examples N] [--seed S]
[group('check')]
schemathesis *arguments:
    ./scripts/schemathesis {{ arguments }}

# A feed under kills, pauses, damage and clock jumps at random, for MINUTES from SEED: [--cluster] [--pods N] [--without KIND,…]
[group('check')]
grind minutes="1" seed="1" *arguments:
    scripts/tools
    cargo build --quiet --workspace --bins
    "${CARGO_TARGET_DIR:-target}/debug/grind" {{ minutes }} {{ seed }} \
        --binary "${CARGO_TARGET_DIR:-target}/debug/tickwell" {{ arguments }}

# Format, lints, documentation
[group('check')]
lint:
    ./scripts/lint

# What continuous integration runs
[group('check')]
ci:
    .ci/run

# Put the code into the project's format
[group('check')]
format:
    cargo fmt --all
    cargo fmt --manifest-path testkit/fuzz/Cargo.toml
    cargo fmt --manifest-path bench/Cargo.toml

# Side-by-side benchmarks into bench/results: store, rebuild, http, streams or page; bench/README.md has their options
[group('check')]
bench *arguments="store":
    scripts/bench {{ arguments }}

# The image of every role, named tickwell or $TICKWELL_IMAGE; with podman, CONTAINER_ENGINE=podman BUILDAH_FORMAT=docker
[group('containers')]
image *arguments:
    {{ engine }} build --tag {{ image }} --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" \
        --build-arg VERSION="$(grep --max-count 1 '^version' Cargo.toml | cut -d '"' -f 2)" {{ arguments }} .

# NATS, two pollers, two pods and a balancer, as compose.yaml says; makes image and keys where there are none
[group('containers')]
up:
    {{ engine }} image inspect {{ image }} >/dev/null 2>&1 || {{ just_executable() }} image
    [ -e secrets/keys.conf ] || {{ just_executable() }} keys
    {{ compose }} up --detach
    @echo "page     http://${TICKWELL_PUBLISH:-127.0.0.1:8080}/"
    @echo "docs     http://${TICKWELL_PUBLISH:-127.0.0.1:8080}/docs"
    @echo "feed     nats://${TICKWELL_PUBLISH_FEED:-127.0.0.1:4222}, subject ticks.>, with secrets/feed.nk"
    @echo "just compose-logs shows what they say, just down ends them"

# End them; the log and the stores stay, but for --volumes
[group('containers')]
down *arguments:
    {{ compose }} down {{ arguments }}

# What they say: [SERVICE…]
[group('containers')]
compose-logs *services:
    {{ compose }} logs --follow --tail 100 {{ services }}

[private]
keys:
    mkdir -p -m 0700 secrets
    {{ compose }} run --rm --user "$(id -u):$(id -g)" keys
    # The folder is closed to others. The files are not: the roles run as another user.
    chmod 0644 secrets/*

# Copy the log out of NATS (bus.url) into a new folder: FOLDER, or --keep N FOLDER; with the maintenance key
[group('operate')]
log-backup *arguments:
    cargo run --quiet -- log backup {{ arguments }}

# Copy a backup of the log back into NATS (bus.url): FOLDER [--replace] [--replicas N]; with the maintenance key
[group('operate')]
log-restore *arguments:
    cargo run --quiet -- log restore {{ arguments }}

# The store of a running process in one file, through its admin.listen
[group('operate')]
backup file url="http://127.0.0.1:9090":
    cargo run --quiet -- backup --from {{ quote(url) }} --output {{ quote(file) }}

# The installed binary, for recipes that operate a cluster: they build nothing
tickwell := env("TICKWELL_BINARY", "tickwell")

# Behind kubectl and all else that is there, what scripts/tools installed
export PATH := env("PATH") + ":" + justfile_directory() / ".tools/venv/bin"

# What an overlay (dev, production, or a folder of your own) gives to a cluster
[group('kubernetes')]
k8s-render overlay="production":
    kubectl kustomize "$(scripts/k8s-overlay {{ quote(overlay) }})"

# Give the cluster the keys that `tickwell log keys FOLDER` made, before the first k8s-apply and when they change: FOLDER [maintenance]
[group('kubernetes')]
k8s-keys folder *roles:
    # All of them or none.
    made="$(scripts/k8s-keys {{ quote(folder) }} {{ roles }})" && kubectl apply --filename k8s/base/namespace.yaml && \
        kubectl apply --server-side --force-conflicts --filename - <<<"$made"

# Install or upgrade, wait until all of it is ready, and ask for prices; the cluster is kubectl's current one
[group('kubernetes')]
k8s-apply overlay="production":
    scripts/k8s-apply "$(scripts/k8s-overlay {{ quote(overlay) }})"

# What runs, what it waits for, and what happened last
[group('kubernetes')]
k8s-status:
    kubectl --namespace tickwell get statefulsets,deployments,jobs,pods,horizontalpodautoscalers,poddisruptionbudgets,persistentvolumeclaims,ingresses
    kubectl --namespace tickwell get events --sort-by .lastTimestamp | tail -n 15

# What pods of a component say: api, poller, nats or log
[group('kubernetes')]
logs component="api" *arguments="--follow --tail 100":
    kubectl --namespace tickwell logs --prefix --max-log-requests 20 \
        --selector app.kubernetes.io/name=tickwell,app.kubernetes.io/component={{ component }} {{ arguments }}

# Let the autoscaler choose between MINIMUM and MAXIMUM pods, until the next k8s-apply
[group('kubernetes')]
scale minimum maximum=minimum:
    kubectl --namespace tickwell patch horizontalpodautoscaler tickwell-api \
        --patch '{"spec": {"minReplicas": {{ minimum }}, "maxReplicas": {{ maximum }}}}'

# The figures of all pods of a component (api, poller, nats) or of one (pod/tickwell-api-0), each line with its pod
[group('kubernetes')]
metrics who="api":
    scripts/k8s-metrics {{ quote(who) }}

# Whether all pods give the same answers
[group('kubernetes')]
verify-pods *arguments:
    scripts/k8s-forwarded 8080 api {{ quote(tickwell) }} verify-pods {{ arguments }}

# Ask for prices from inside the cluster, with a pod that is thrown away
[group('kubernetes')]
smoke:
    scripts/k8s-smoke

# The store of a pod in one file
[group('kubernetes')]
k8s-backup file pod="tickwell-api-0":
    scripts/k8s-forwarded 9090 pod/{{ pod }} {{ quote(tickwell) }} backup --output {{ quote(file) }} --from

# Back up the log now, into the volume of the component log-backup
[group('kubernetes')]
k8s-log-backup:
    scripts/k8s-log-job backup --keep 7 /backups

# Restore a backup from that volume: NAME [--replace]; with an empty name, list the backups
[group('kubernetes')]
k8s-log-restore name *arguments:
    scripts/k8s-log-job restore /backups/{{ name }} {{ arguments }}

# Let the servers take over a changed keys.conf, once it has reached them; nobody whose key stays is cut off
[group('kubernetes')]
k8s-reload:
    for pod in $(kubectl --namespace tickwell get pods --output name --selector app.kubernetes.io/component=nats); do \
        kubectl --namespace tickwell exec "$pod" -- nats-server --signal reload=1; \
    done

# The optimised binary, target/release/tickwell
[group('build')]
release:
    cargo build --release --locked

# Write docs/openapi.json, errors.md, configuration.md and cli.md from the code
[group('docs')]
documents:
    TICKWELL_RENEW_DOCUMENTS=1 cargo test --quiet -p api --test answers document::
    TICKWELL_RENEW_DOCUMENTS=1 cargo test --quiet -p tickwell --bin tickwell documents::

# Every setting with its meaning and default
[group('docs')]
settings:
    cargo run --quiet -- config example
