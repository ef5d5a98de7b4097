# One image for every role: the role is the argument, such as `poller`, `api` or `run --demo`.
#   just image      builds it with version and commit
# RUNTIME may be any base with glibc 2.34, libgcc and certificate authorities, such as debian:bookworm-slim with
# ca-certificates.
ARG RUST=rust:1.95-bookworm
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST} AS build
WORKDIR /build

# What others wrote, in a layer of its own: it is built again when a manifest changes, and not with every change of
# ours. Our crates are empty here.
COPY Cargo.toml Cargo.lock ./
COPY common/Cargo.toml common/
COPY poller/Cargo.toml poller/
COPY ledger/Cargo.toml ledger/
COPY api/Cargo.toml api/
COPY testkit/Cargo.toml testkit/
COPY cli/Cargo.toml cli/
RUN mkdir common/src poller/src ledger/src api/src testkit/src cli/src \
    && touch common/src/lib.rs poller/src/lib.rs ledger/src/lib.rs api/src/lib.rs testkit/src/lib.rs \
    && echo 'fn main() {}' > cli/src/main.rs \
    && cargo build --release --locked --package tickwell

COPY . .
ARG COMMIT
# Files keep their dates when they are copied: older than the empty crates, they would pass for built.
RUN touch common/src/lib.rs poller/src/lib.rs ledger/src/lib.rs api/src/lib.rs cli/src/main.rs \
    && TICKWELL_COMMIT="${COMMIT}" cargo build --release --locked --package tickwell \
    && mkdir /data

FROM ${RUNTIME}
ARG VERSION=unknown
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="tickwell" \
    org.opencontainers.image.description="A self-hosted crypto price feed: one well, many who drink from it" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${COMMIT}"
COPY --from=build /build/target/release/tickwell /usr/local/bin/tickwell
COPY container/tickwell.toml /etc/tickwell/tickwell.toml
# Nobody in particular, who owns nothing but the store.
COPY --from=build --chown=65532:65532 /data /data
ENV TICKWELL_CONFIG=/etc/tickwell/tickwell.toml
USER 65532:65532
WORKDIR /data
# All else may be read-only.
VOLUME /data
EXPOSE 8080 9090
# Whether it lives: an engine that acts on this starts the container anew.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/tickwell", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/tickwell"]
