#!/usr/bin/env bash
# Builds the agent's image from a static binary built here, without a registry: scripts/image.sh TAG
set -euo pipefail
cd "$(dirname "$0")/.."
tag=$1

binary=$(scripts/static.sh)
context=target/image
scripts/rootfs.sh "$binary" "$context"
# The stage `base` of the Dockerfile, and the files: nothing to pull.
{
    sed '/^FROM ${BUILDER}/,$d' Dockerfile
    echo 'COPY rootfs/ /'
    echo 'COPY --chown=18284:18284 state/ /var/lib/turbopanel-agent/'
} >"$context/Dockerfile"
# The classic builder is in every engine; BuildKit would ask for a plug-in of the client.
log=$(DOCKER_BUILDKIT=0 docker build --tag "$tag" "$context" 2>&1) || { echo "$log" >&2; exit 1; }
docker image inspect --format "image: $tag, {{.Size}} bytes" "$tag"
