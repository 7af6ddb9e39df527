#!/usr/bin/env bash
# A real image registry for tests: Debian's docker-registry, on loopback.
#
#   scripts/registry.sh ensure                       the program is there when this returns 0 (installs it where it may)
#   scripts/registry.sh serve DIR PORT [HTPASSWD]    serves in the foreground, with its data in DIR; with a file of users
#                                                    (htpasswd, bcrypt) only to those
#
# Standard output stays empty but for what the registry says.
set -euo pipefail

fail() {
    printf 'registry: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '          %s\n' "$line" >&2; done
    exit 1
}

ensure() {
    command -v docker-registry >/dev/null && return
    [ "$(id -u)" = 0 ] && [ -r /etc/debian_version ] && command -v apt-get >/dev/null || fail \
        "there is no docker-registry here, and this script installs it only as root on Debian or Ubuntu." \
        "Install it (Debian: docker-registry) and try again."
    echo "registry: installing docker-registry from apt" >&2
    local log
    log=$(mktemp)
    # Whatever answers on port 5000 here stays as it is: the package is not to start a service.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    if ! { apt-get update -q && apt-get install -q -y --no-install-recommends docker-registry; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt could not install docker-registry." "Mend what it says above, or install it by hand and try again."
    fi
    rm -f "$log"
}

serve() {
    local dir=$1 port=$2 users=${3:-}
    mkdir -p "$dir/data"
    {
        printf 'version: 0.1\nlog:\n  level: error\n'
        printf 'storage:\n  filesystem:\n    rootdirectory: %s\n  delete:\n    enabled: true\n' "$dir/data"
        printf 'http:\n  addr: 127.0.0.1:%s\n' "$port"
        if [ -n "$users" ]; then printf 'auth:\n  htpasswd:\n    realm: test\n    path: %s\n' "$users"; fi
    } >"$dir/config.yml"
    exec docker-registry serve "$dir/config.yml"
}

case "${1:-}" in
    ensure) ensure ;;
    serve)
        [ $# -ge 3 ] || fail "usage: scripts/registry.sh serve DIR PORT [HTPASSWD]"
        serve "$2" "$3" "${4:-}"
        ;;
    *) fail "usage: scripts/registry.sh ensure | serve DIR PORT [HTPASSWD]" ;;
esac
