#!/usr/bin/env bash
# Builds the agent as a static binary for this machine's architecture, and prints its path.
#
#   scripts/static.sh          called by scripts/image.sh, `make bench` and the Dockerfile's build stage
#   scripts/static.sh target   only sees that Rust's target is there, which rustup brings when it is not
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(uname -m)-unknown-linux-musl

if [ ! -d "$(rustc --print target-libdir --target "$target")" ]; then
    mend="Bring it with rustup (https://rustup.rs), or with the package of your system that holds Rust's standard library for it."
    command -v rustup >/dev/null || { echo "static: Rust's target $target is not installed, and there is no rustup here. $mend" >&2; exit 1; }
    echo "static: rustup target add $target" >&2
    rustup target add "$target" >&2 || { echo "static: rustup could not bring Rust's target $target; its reason stands above." >&2; exit 1; }
fi
[ "${1:-}" != target ] || exit 0
# ring has C in it; the host's compiler does for it, nothing of the C library is used.
compiler=CC_${target//-/_}
export "$compiler=${!compiler:-${CC:-gcc}}"
command -v "${!compiler%% *}" >/dev/null || { echo "static: there is no C compiler ${!compiler} here; install gcc, or name another in CC." >&2; exit 1; }
build() {
    local flags=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_RUSTFLAGS
    env "$flags=${!flags:-} $*" cargo build --profile agent --locked --target "$target" --package turbopanel-agent --bin turbopanel-agent >&2
}
binary=${CARGO_TARGET_DIR:-target}/$target/agent/turbopanel-agent
# Relocations in short form save 0.4 MB. The C library of Rust before 1.93 does not know it.
build -C link-arg=-Wl,-z,pack-relative-relocs
"$binary" version >/dev/null 2>&1 || build
"$binary" version >/dev/null || { echo "static: $binary does not start." >&2; exit 1; }
echo "$binary"
