# csictl with the tools it formats with: docker build -t localhost/csictl:0.1.0 .
# docs/deploy-container.md says how to run it.

FROM rust:1-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev libclang-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
# Static: the target is named so that only csictl is, not what runs during the build.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --bin csictl --target "$target" \
 && cp "target/$target/release/csictl" /csictl

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends e2fsprogs xfsprogs btrfs-progs util-linux \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /csictl /usr/local/bin/csictl
LABEL org.opencontainers.image.title="csictl" \
      org.opencontainers.image.description="CSI driver for volumes on image files and loop devices" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/usr/local/bin/csictl"]
CMD ["serve"]
