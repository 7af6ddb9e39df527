#!/usr/bin/env bash
# The rules about dependencies: cargo-deny where it is installed, the bans of deny.toml everywhere.
set -euo pipefail
cd "$(dirname "$0")/.."

# The banned crates as deny.toml lists them, without a TOML parser.
banned() { sed -n 's/^ *{ crate = "\([^"]*\)".*/\1/p' deny.toml; }

[ -n "$(banned)" ] || { echo "dependencies: deny.toml lists no banned crate; has its layout changed?" >&2; exit 1; }

# What can be built, features of every member included. The lock file alone would also name what no build uses.
tree=$(cargo tree --workspace --locked --edges normal,build,dev --prefix none --format '{p}' \
    --target x86_64-unknown-linux-gnu --target aarch64-unknown-linux-musl | cut -d' ' -f1 | sort -u)
broken=0
for crate in $(banned); do
    if grep -qx "$crate" <<<"$tree"; then
        echo "dependencies: $crate is banned ($(sed -n "s/.*crate = \"$crate\", reason = \"\(.*\)\".*/\1/p" deny.toml)). It comes from:" >&2
        cargo tree --workspace --locked --edges normal,build,dev --target all --invert "$crate" >&2 || true
        broken=1
    fi
done
[ "$broken" = 0 ] || exit 1

# cargo-deny adds licences, sources and, unless OFFLINE is set, advisories.
if command -v cargo-deny >/dev/null; then
    cargo deny --workspace --locked check bans licenses sources
    [ -n "${OFFLINE:-}" ] || cargo deny --workspace --locked check advisories
else
    echo "dependencies: bans hold. Licences and advisories are checked where cargo-deny is installed (cargo install --locked cargo-deny)." >&2
fi
