#!/usr/bin/env bash
# Prints the path of Podman; installs it from Debian's packages when there is none and this may be done. It starts nothing.
set -euo pipefail

if found=$(command -v podman); then
    echo "$found"
    exit
fi
mend="Install podman (https://podman.io/docs/installation), and try again."
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "podman: there is none here, and this script installs one only as root on Debian or Ubuntu. $mend" >&2
    exit 1
fi
echo "podman: installing podman from apt" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends podman; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "podman: apt could not install it. $mend" >&2
    exit 1
fi
command -v podman
