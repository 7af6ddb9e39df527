#!/usr/bin/env bash
# Checks that the workspace builds with the oldest Rust that Cargo.toml states (rust-version).
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
[ -n "$version" ] || { echo "msrv: Cargo.toml states no rust-version" >&2; exit 1; }

skip() {
    echo >&2
    echo "msrv: NOT CHECKED with Rust $version: $1" >&2
    echo >&2
    exit 0
}
command -v rustup >/dev/null || skip "there is no rustup here to bring that toolchain (https://rustup.rs)."
if ! rustup run "$version" cargo --version >/dev/null 2>&1; then
    rustup toolchain install "$version" --profile minimal --no-self-update >&2 ||
        skip "rustup could not bring that toolchain; its reason stands above."
fi
# A folder of its own: two compilers would otherwise rebuild each other's work.
exec rustup run "$version" cargo check --workspace --locked --target-dir target/msrv
