#!/usr/bin/env bash
# Runs the examples of README.md as they stand there: the block marked `sh up` starts the control plane, and
# each fenced block marked `sh run` is given to a shell of its own, with the documented addresses replaced
# by those of the control plane and an agent started here.
# A block fails when any of its commands fails; `# => text` after a command names text in its output.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/stage.sh
source scripts/stage.sh

# $1: the kind of block; each is written to a file of its own.
blocks() {
    awk -v folder="$STAGE" -v kind="$1" '
        /^```/ { if (inside) { inside = 0; close(file) } else if ($0 == "```sh " kind) { inside = 1; file = folder "/" kind "-" ++n ".sh" } ; next }
        inside { print > file }
    ' README.md
}
blocks up
blocks run
[ -e "$STAGE/up-1.sh" ] || stage_fail "README.md has no block marked 'sh up'"

# As a new user starts it, so that other servers reach it; here that is this machine alone.
up() {
    local line
    line=$(cat "$STAGE/up-1.sh")
    [[ $line == *0.0.0.0:18282* && $line == *http://ADDRESS-OF-THIS-SERVER:18282* ]] ||
        stage_fail "README.md starts a control plane in another way: $line"
    line=${line/0.0.0.0:18282/$PLANE}
    line=${line/http:\/\/ADDRESS-OF-THIS-SERVER:18282/http://localhost:${PLANE##*:}}
    printf '$ %s\n' "$line" >&3
    exec bash -euo pipefail -c "exec $line DATA_DIR='$TURBOPANEL_DATA_DIR'"
}
exec 3>&1
start_plane 127.0.0.1 up
"$BIN/turbopanel" token create web-3 2>/dev/null | grep -qF "CONTROL_PLANE_URL=http://localhost:${PLANE##*:} " ||
    stage_fail "turbopanel token create does not print the PUBLIC_URL of make up"
start_agent web-2
container=web
# The examples name a container `web`; it must not be somebody else's.
if docker container inspect "$container" >/dev/null 2>&1; then
    stage_fail "a container named $container exists here already; remove or rename it to run the examples"
fi
STAGE_CONTAINERS+=("$container")

examples=("$STAGE"/run-*.sh)
[ -e "${examples[0]}" ] || stage_fail "README.md has no block marked 'sh run'"
all=$(cat "${examples[@]}")
for port in 18282 18284; do
    grep -q "$port" <<<"$all" || stage_fail "no example of README.md uses port $port"
done

export PATH="$PWD/$BIN:$(dirname "$GRPCURL"):$PATH" ADMIN_TOKEN AGENT_TOKEN=$AGENT_TOKEN_TEXT
count=0
# $1: a command, maybe of several lines, $2: text that its output must have.
try() {
    local output
    printf '$ %s\n' "$1"
    output=$(bash -euo pipefail -c "$1" 2>&1) || stage_fail "README.md: '$1' failed: $output"
    [ -z "$2" ] || grep -qF -- "$2" <<<"$output" || stage_fail "README.md: '$1' printed no '$2': $output"
    count=$((count + 1))
}
for number in $(seq "${#examples[@]}"); do
    command=
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line//127.0.0.1:18282/$PLANE}
        line=${line//127.0.0.1:18284/$AGENT}
        case "$line" in
            '# => '*) ;;
            '#'* | '') continue ;;
        esac
        wanted=
        if [[ $line == *'# => '* ]]; then
            wanted=${line##*'# => '}
            line=${line%'# => '*}
        fi
        command+=$line
        # A backslash at the end of a line goes on.
        if [[ $line == *\\ ]]; then
            command+=$'\n'
            continue
        fi
        try "$command" "$wanted"
        command=
    done <"$STAGE/run-$number.sh"
done
echo "README.md: $count commands did what they say"
