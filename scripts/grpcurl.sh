#!/usr/bin/env bash
# Prints the path of a grpcurl that takes tokens from the environment; brings one by `go install` when there is none.
set -euo pipefail
readonly VERSION=v1.9.4

# A token in an argument could be read by every user of the machine.
does() { "$1" -help 2>&1 | grep -q -- -expand-headers; }

found=$(command -v grpcurl || true)
if [ -n "$found" ] && does "$found"; then
    echo "$found"
    exit
fi
mend="Install grpcurl $VERSION or newer (https://github.com/fullstorydev/grpcurl#installation) or Go (https://go.dev/dl/), and try again."
command -v go >/dev/null || { echo "grpcurl: there is no grpcurl with -expand-headers here, and no Go to install it with. $mend" >&2; exit 1; }
installed=$(go env GOBIN)
installed=${installed:-$(go env GOPATH)/bin}/grpcurl
if [ ! -x "$installed" ] || ! does "$installed"; then
    echo "grpcurl: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@$VERSION" >&2
    log=$(mktemp)
    if ! go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$VERSION" >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        echo "grpcurl: Go could not install it. $mend" >&2
        exit 1
    fi
    rm -f "$log"
fi
echo "$installed"
