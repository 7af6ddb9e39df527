#!/usr/bin/env bash
# Prints the path of docker compose's plugin; builds it where Docker looks for plugins when there is none.
set -euo pipefail
readonly VERSION=v2.40.3
readonly MODULE=github.com/docker/compose/v2

# Tells its progress as JSON, which older ones do not.
does() { "$1" --progress json version >/dev/null 2>&1; }

own="$HOME/.docker/cli-plugins"
for folder in "$own" /usr/local/lib/docker/cli-plugins /usr/local/libexec/docker/cli-plugins \
    /usr/lib/docker/cli-plugins /usr/libexec/docker/cli-plugins; do
    if [ -x "$folder/docker-compose" ] && does "$folder/docker-compose"; then
        echo "$folder/docker-compose"
        exit
    fi
done
mend="Install docker-compose-plugin $VERSION or newer (https://docs.docker.com/compose/install/linux/) or Go (https://go.dev/dl/), and try again."
command -v go >/dev/null || { echo "compose: there is no docker compose plugin here, and no Go to build it with. $mend" >&2; exit 1; }
echo "compose: building $MODULE@$VERSION, which takes minutes" >&2
log=$(mktemp)
fresh=$(mktemp -d)
trap 'rm -rf "$log" "$fresh"' EXIT
# `go install` refuses a module with exclude directives: it is built where Go keeps its source.
if ! {
    source=$(go mod download -json "$MODULE@$VERSION" | sed -n 's/^\t"Dir": "\(.*\)",\?$/\1/p') &&
        go build -C "$source" -mod=readonly -trimpath -ldflags "-s -w -X $MODULE/internal.Version=$VERSION" -o "$fresh/docker-compose" ./cmd
} >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "compose: Go could not build it. $mend" >&2
    exit 1
fi
mkdir -p "$own"
mv "$fresh/docker-compose" "$own/docker-compose"
echo "$own/docker-compose"
