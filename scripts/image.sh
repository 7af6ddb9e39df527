#!/usr/bin/env bash
# Builds the agent's image from a static binary built here, without a registry: scripts/image.sh TAG
set -euo pipefail
cd "$(dirname "$0")/.."
tag=$1
target=$(uname -m)-unknown-linux-musl

if ! rustc --print target-libdir --target "$target" 2>/dev/null | xargs -r test -d; then
    command -v rustup >/dev/null || { echo "image: Rust's target $target is not installed, and there is no rustup here to bring it." >&2; exit 1; }
    rustup target add "$target"
fi
# ring has C in it; the host's compiler does for it, nothing of the C library is used.
export "CC_${target//-/_}=${CC:-gcc}"
cargo build --release --locked --target "$target" --package turbopanel-agent --bin turbopanel-agent

context=target/image
scripts/rootfs.sh "target/$target/release/turbopanel-agent" "$context"
# The stage `base` of the Dockerfile, and the files: nothing to pull.
{
    sed '/^FROM ${BUILDER}/,$d' Dockerfile
    echo 'COPY rootfs/ /'
    echo 'COPY --chown=18284:18284 state/ /var/lib/turbopanel-agent/'
} >"$context/Dockerfile"
# The classic builder is in every engine; BuildKit would ask for a plug-in of the client.
log=$(DOCKER_BUILDKIT=0 docker build --tag "$tag" "$context" 2>&1) || { echo "$log" >&2; exit 1; }
docker image inspect --format "image: $tag, {{.Size}} bytes" "$tag"
