# One image for every role. The arguments choose the role, such as `poller`, `api` or `run --demo`. `just image` builds
# it with version and commit. RUNTIME may be any base with glibc 2.34, libgcc and CA certificates, such as
# debian:bookworm-slim with ca-certificates.
ARG RUST=rust:1.95-bookworm
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST} AS build
WORKDIR /build

# Build the dependencies in their own layer, with empty sources for our own crates. So the dependencies are rebuilt only
# when a manifest changes.
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
# COPY keeps the modification times of our sources, which may be older than the build of the empty ones. Without touch,
# cargo would not build them again.
RUN touch common/src/lib.rs poller/src/lib.rs ledger/src/lib.rs api/src/lib.rs cli/src/main.rs \
    && TICKWELL_COMMIT="${COMMIT}" cargo build --release --locked --package tickwell \
    && mkdir /data

FROM ${RUNTIME}
ARG VERSION=unknown
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="tickwell" \
    org.opencontainers.image.description="A self-hosted crypto price feed: one poller, one log, any number of API pods" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${COMMIT}"
COPY --from=build /build/target/release/tickwell /usr/local/bin/tickwell
COPY container/tickwell.toml /etc/tickwell/tickwell.toml
# The licences of Tickwell and of the libraries in its binary.
COPY LICENSE THIRD-PARTY /usr/share/doc/tickwell/
# Containers of this image run as an unprivileged user, which owns nothing but the directory of the store.
COPY --from=build --chown=65532:65532 /data /data
ENV TICKWELL_CONFIG=/etc/tickwell/tickwell.toml
# By default, the allocator raises these thresholds as soon as a large block was freed, and then keeps the memory of large
# responses. With fixed thresholds it returns their memory to the system.
ENV MALLOC_MMAP_THRESHOLD_=131072 MALLOC_TRIM_THRESHOLD_=131072
USER 65532:65532
WORKDIR /data
# The only directory that must be writable.
VOLUME /data
EXPOSE 8080 9090
# Checks liveness and not readiness, because some engines restart an unhealthy container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/tickwell", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/tickwell"]
