# One pass builds all programs; each image then holds one program and nothing else.
# Build one image with --target producer (or consumer, poller, streamer, broker, crosstalk).

FROM rust:1.95-slim-trixie AS build
WORKDIR /source
COPY . .
# Such as crosstalk/tls,crosstalk-broker/tls for a broker that speaks TLS.
ARG FEATURES=""
# Static, so that the images need no system: glibc linked in, for whatever architecture this is built on. A target
# has to be named for that, or the flag would also hit procedural macros, which cannot be static.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    target=$(rustc -vV | sed -n 's/^host: //p') \
    && RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release --workspace --exclude crosstalk-broker-bench --bins \
         --features "$FEATURES" --target "$target" \
    && mkdir -p /programs /data \
    && for program in broker producer consumer poller streamer crosstalk; do \
         cp "target/$target/release/$program" /programs/; \
       done

FROM scratch AS node
# What must survive a kill of the process. The directory comes from the build so that it has its owner.
COPY --from=build --chown=65532:65532 /data /data
ENV CROSSTALK_TOPOLOGY=compose CROSSTALK_DATA=/data
USER 65532:65532

FROM node AS broker
COPY --from=build /programs/broker /broker
# Durable queues outlive the container.
VOLUME /data
ENTRYPOINT ["/broker"]

FROM node AS producer
COPY --from=build /programs/producer /producer
ENTRYPOINT ["/producer"]

FROM node AS consumer
COPY --from=build /programs/consumer /consumer
ENTRYPOINT ["/consumer"]

FROM node AS poller
COPY --from=build /programs/poller /poller
ENTRYPOINT ["/poller"]

FROM node AS streamer
COPY --from=build /programs/streamer /streamer
ENTRYPOINT ["/streamer"]

FROM node AS crosstalk
COPY --from=build /programs/crosstalk /crosstalk
ENTRYPOINT ["/crosstalk"]
