#!/usr/bin/env bash
# Prints the path of grpcurl; brings it by `go install` when it is not there.
set -euo pipefail

if command -v grpcurl; then exit; fi
mend="Install it (https://github.com/fullstorydev/grpcurl#installation) or Go (https://go.dev/dl/), and try again."
command -v go >/dev/null || { echo "grpcurl: there is no grpcurl here, and no Go to install it with. $mend" >&2; exit 1; }
installed=$(go env GOBIN)
installed=${installed:-$(go env GOPATH)/bin}/grpcurl
if [ ! -x "$installed" ]; then
    echo "grpcurl: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest" >&2
    log=$(mktemp)
    if ! go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        echo "grpcurl: Go could not install it. $mend" >&2
        exit 1
    fi
    rm -f "$log"
fi
echo "$installed"
