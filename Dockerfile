# The agent's image: one static binary and nothing else.
#
#   docker build -t turbopanel/agent .              builds the binary in BUILDER
#   make image                                      takes the binary that this machine built; needs no registry
#
# Any image with cargo, rustup and gcc does as BUILDER.
ARG BUILDER=rust:1.95-bookworm

# What both ways share: scripts/image.sh takes this stage and copies its own files onto it.
FROM scratch AS base
ENV AGENT_STATE_DIR=/var/lib/turbopanel-agent
EXPOSE 18284
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s --retries=3 CMD ["/turbopanel-agent", "health"]
ENTRYPOINT ["/turbopanel-agent"]
CMD ["run"]

FROM ${BUILDER} AS build
WORKDIR /source
COPY . .
RUN scripts/rootfs.sh "$(scripts/static.sh)" /image

FROM base AS runtime
COPY --from=build /image/rootfs/ /
COPY --from=build --chown=18284:18284 /image/state/ /var/lib/turbopanel-agent/
