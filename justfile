# Tickwell's everyday commands. `just` lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Docker, or another engine with the same command line
engine := env("CONTAINER_ENGINE", "docker")
compose := env("COMPOSE", engine + " compose")
image := env("TICKWELL_IMAGE", "tickwell")

# List the recipes
default:
    @just --list --unsorted

# Run poller, log and API in one process
[group('run')]
run *arguments:
    cargo run -- {{ arguments }}

# Run everything in one process with a simulated market; works offline
[group('run')]
demo:
    cargo run -- run --demo

# Show the live prices of a running pod in the terminal
[group('run')]
watch +pairs="BTC-USD ETH-USD":
    cargo run --quiet -- watch {{ pairs }}

# Run a fake upstream for developing offline; MARKET is walk (random prices), recorded or script
[group('run')]
fake-upstream market="walk" *arguments:
    cargo run -p testkit --bin fake-upstream -- --market {{ market }} {{ arguments }}

# Run Tickwell against fake exchanges with faults, such as kraken=stuck bitstamp=451; without arguments, list the faults
[group('run')]
lab *arguments:
    cargo build --quiet
    cargo run --quiet -p testkit --bin fault-lab -- \
        --binary "${CARGO_TARGET_DIR:-target}/debug/tickwell" {{ arguments }}

# Run a NATS server with JetStream on 127.0.0.1:4222; its data is in .tools/nats
[group('run')]
nats:
    scripts/tools
    # The log may grow to 16 GiB. Without max_file_store, a server whose disk has less free space than that refuses to
    # create the stream.
    echo 'jetstream { max_file_store: 34GiB, store_dir: .tools/nats }' >.tools/nats.conf
    .tools/venv/bin/nats-server --config .tools/nats.conf --addr 127.0.0.1

# Run a poller that uses the server of `just nats`
[group('run')]
poller:
    TICKWELL__BUS__URL=nats://127.0.0.1:4222 cargo run -- poller

# Run an API pod that uses the server of `just nats`
[group('run')]
api listen="127.0.0.1:8080" store="./data/pod":
    TICKWELL__BUS__URL=nats://127.0.0.1:4222 TICKWELL__API__LISTEN={{ listen }} \
        TICKWELL__STORE__PATH={{ store }} cargo run -- api

# Print every record of the feed on the server of `just nats`, with a plain NATS client
[group('run')]
subscribe subject="ticks.>":
    scripts/tools
    .tools/venv/bin/python docs/examples/subscribe.py nats://127.0.0.1:4222 {{ quote(subject) }}

# Run all tests; installs what they need first
[group('check')]
test *arguments:
    ./scripts/test {{ arguments }}

# Check the clients that take long to build, or only those whose name contains an argument
[group('check')]
clients *arguments:
    ./scripts/clients {{ arguments }}

# Fuzz the parsers, the record codec and the aggregator, or only the given targets; arguments: [TARGET…] [--runs N]
[group('check')]
fuzz *arguments:
    ./scripts/fuzz {{ arguments }}

# Test a demo with valid and invalid requests made from the OpenAPI document; arguments: [--max-examples N] [--seed S]
[group('check')]
schemathesis *arguments:
    ./scripts/schemathesis {{ arguments }}

# Kill, pause and damage a feed at random; the same SEED repeats a run; options: [--cluster] [--pods N] [--without KIND,…]
[group('check')]
grind minutes="1" seed="1" *arguments:
    scripts/tools
    cargo build --quiet --workspace --bins
    "${CARGO_TARGET_DIR:-target}/debug/grind" {{ minutes }} {{ seed }} \
        --binary "${CARGO_TARGET_DIR:-target}/debug/tickwell" {{ arguments }}

# Inject faults into real processes, and show how long a real Prometheus takes until the alerts fire and clear
[group('check')]
alert-trial *arguments:
    scripts/tools
    cargo build --quiet --workspace --bins
    TICKWELL_NATS_SERVER="${TICKWELL_NATS_SERVER:-$PWD/.tools/venv/bin/nats-server}" \
        "${CARGO_TARGET_DIR:-target}/debug/alert-trial" --binary "${CARGO_TARGET_DIR:-target}/debug/tickwell" \
        --prometheus .tools/prometheus/usr/bin/prometheus --alerts container/monitoring/alerts.yaml {{ arguments }}

# Run hostile clients against a process in a memory limit (as root): `trial`, or `soak --minutes 60`
[group('check')]
hostile *arguments:
    cargo build --quiet --release --package tickwell --package testkit --bin tickwell --bin hostile
    "${CARGO_TARGET_DIR:-target}/release/hostile" --binary "${CARGO_TARGET_DIR:-target}/release/tickwell" {{ arguments }}

# Check formatting, lints and documentation
[group('check')]
lint:
    ./scripts/lint

# Run what continuous integration runs
[group('check')]
ci:
    .ci/run

# Format the code
[group('check')]
format:
    cargo fmt --all
    cargo fmt --manifest-path testkit/fuzz/Cargo.toml
    cargo fmt --manifest-path bench/Cargo.toml

# Run all benchmarks, or one (store, rebuild, http, streams, telemetry, peers, page, units), or count instructions; see bench/README.md
[group('check')]
bench *arguments="all":
    scripts/bench {{ arguments }}

# Build the image, named tickwell or $TICKWELL_IMAGE; for podman, set CONTAINER_ENGINE=podman BUILDAH_FORMAT=docker
[group('containers')]
image *arguments:
    {{ engine }} build --tag {{ image }} --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" \
        --build-arg VERSION="$(grep --max-count 1 '^version' Cargo.toml | cut -d '"' -f 2)" {{ arguments }} .

# Start everything in compose.yaml; PROFILE monitoring adds Prometheus and Grafana; builds image and keys if missing
[group('containers')]
up profile=env("COMPOSE_PROFILES", ""):
    {{ engine }} image inspect {{ image }} >/dev/null 2>&1 || {{ just_executable() }} image
    [ -e secrets/keys.conf ] || {{ just_executable() }} keys
    COMPOSE_PROFILES={{ quote(profile) }} {{ compose }} up --detach
    @echo "page     http://${TICKWELL_PUBLISH:-127.0.0.1:8080}/"
    @echo "docs     http://${TICKWELL_PUBLISH:-127.0.0.1:8080}/docs"
    @echo "feed     nats://${TICKWELL_PUBLISH_FEED:-127.0.0.1:4222}, subject ticks.>, with secrets/feed.nk"
    @[ {{ quote(profile) }} != monitoring ] || echo "dashboard http://${TICKWELL_PUBLISH_GRAFANA:-127.0.0.1:3000}/"
    @[ {{ quote(profile) }} != monitoring ] || echo "alerts   http://${TICKWELL_PUBLISH_PROMETHEUS:-127.0.0.1:9090}/alerts"
    @echo "Show the logs with: just compose-logs. Stop everything with: just down"

# Stop everything in compose.yaml; keeps the log and the stores unless --volumes is given
[group('containers')]
down *arguments:
    {{ compose }} --profile monitoring down {{ arguments }}

# Follow the logs of all services in compose.yaml, or only of the SERVICES given
[group('containers')]
compose-logs *services:
    {{ compose }} --profile monitoring logs --follow --tail 100 {{ services }}

[private]
keys:
    mkdir -p -m 0700 secrets
    {{ compose }} run --rm --user "$(id -u):$(id -g)" keys
    # The containers do not run as the user who owns the files, so make the files readable by all users. Other users of
    # this machine still cannot read them, because only its owner can enter the directory secrets/.
    chmod 0644 secrets/*

# Back up the log on NATS (bus.url) into a new directory; needs the maintenance key; arguments: DIR, or --keep N DIR
[group('operate')]
log-backup *arguments:
    cargo run --quiet -- log backup {{ arguments }}

# Restore a backup of the log into NATS (bus.url); needs the maintenance key; arguments: DIR [--replace] [--replicas N]
[group('operate')]
log-restore *arguments:
    cargo run --quiet -- log restore {{ arguments }}

# Back up the store of a running process to a file, through its admin.listen address
[group('operate')]
backup file url="http://127.0.0.1:9090":
    cargo run --quiet -- backup --from {{ quote(url) }} --output {{ quote(file) }}

# The recipes that operate a cluster use this installed binary, so that they build nothing
tickwell := env("TICKWELL_BINARY", "tickwell")

# If the system lacks a program, use the one that scripts/tools installed
export PATH := env("PATH") + ":" + justfile_directory() / ".tools/venv/bin"

# Print the manifests of an overlay: dev, production, or a directory of your own
[group('kubernetes')]
k8s-render overlay="production":
    kubectl kustomize "$(scripts/k8s-overlay {{ quote(overlay) }})"

# Copy the keys in DIR to the cluster, before the first k8s-apply and after changes; arguments: DIR [maintenance]
[group('kubernetes')]
k8s-keys dir *roles:
    # If a key is missing, scripts/k8s-keys fails, and nothing is applied.
    made="$(scripts/k8s-keys {{ quote(dir) }} {{ roles }})" && kubectl apply --filename k8s/base/namespace.yaml && \
        kubectl apply --server-side --force-conflicts --filename - <<<"$made"

# Install or upgrade in kubectl's current cluster, wait until everything is ready, and run the smoke test
[group('kubernetes')]
k8s-apply overlay="production":
    scripts/k8s-apply "$(scripts/k8s-overlay {{ quote(overlay) }})"

# Show the state of all Kubernetes objects of Tickwell, and the latest events
[group('kubernetes')]
k8s-status:
    kubectl --namespace tickwell get statefulsets,deployments,jobs,pods,horizontalpodautoscalers,poddisruptionbudgets,persistentvolumeclaims,ingresses
    kubectl --namespace tickwell get events --sort-by .lastTimestamp | tail -n 15

# Follow the logs of a component: api, poller, nats or log
[group('kubernetes')]
logs component="api" *arguments="--follow --tail 100":
    kubectl --namespace tickwell logs --prefix --max-log-requests 20 \
        --selector app.kubernetes.io/name=tickwell,app.kubernetes.io/component={{ component }} {{ arguments }}

# Let the autoscaler choose between MINIMUM and MAXIMUM pods, until the next k8s-apply
[group('kubernetes')]
scale minimum maximum=minimum:
    kubectl --namespace tickwell patch horizontalpodautoscaler tickwell-api \
        --patch '{"spec": {"minReplicas": {{ minimum }}, "maxReplicas": {{ maximum }}}}'

# Print the metrics of a component (api, poller, nats) or of one pod (pod/tickwell-api-0), with the pod's name in each line
[group('kubernetes')]
metrics who="api":
    scripts/k8s-metrics {{ quote(who) }}

# Check that all pods return the same responses
[group('kubernetes')]
verify-pods *arguments:
    scripts/k8s-forwarded 8080 api {{ quote(tickwell) }} verify-pods {{ arguments }}

# Request prices from a temporary pod inside the cluster
[group('kubernetes')]
smoke:
    scripts/k8s-smoke

# Back up the store of a pod to a file
[group('kubernetes')]
k8s-backup file pod="tickwell-api-0":
    scripts/k8s-forwarded 9090 pod/{{ pod }} {{ quote(tickwell) }} backup --output {{ quote(file) }} --from

# Back up the log now, into the volume of the component log-backup
[group('kubernetes')]
k8s-log-backup:
    scripts/k8s-log-job backup --keep 7 /backups

# Restore the backup NAME from the volume of log-backup: NAME [--replace]; if NAME is '', list the backups
[group('kubernetes')]
k8s-log-restore name *arguments:
    scripts/k8s-log-job restore /backups/{{ name }} {{ arguments }}

# Make the NATS servers reload keys.conf (wait 90 s after k8s-keys); connections with unchanged keys stay open
[group('kubernetes')]
k8s-reload:
    for pod in $(kubectl --namespace tickwell get pods --output name --selector app.kubernetes.io/component=nats); do \
        kubectl --namespace tickwell exec "$pod" -- nats-server --signal reload=1; \
    done

# Build the optimised binary, target/release/tickwell
[group('build')]
release:
    cargo build --release --locked

# Generate docs/openapi.json, errors.md, configuration.md, cli.md, metrics.md and the alerts for Kubernetes
[group('docs')]
documents:
    TICKWELL_RENEW_DOCUMENTS=1 cargo test --quiet -p api --test answers document::
    TICKWELL_RENEW_DOCUMENTS=1 cargo test --quiet -p tickwell --bin tickwell documents::

# Print every setting with its meaning and default
[group('docs')]
settings:
    cargo run --quiet -- config example
