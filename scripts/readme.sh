#!/usr/bin/env bash
# Runs the examples of README.md as they stand there: each fenced block marked `sh run`, in a shell of
# its own, with the documented ports replaced by those of a control plane and an agent started here.
# A block fails when any of its commands fails; `# => text` after a command names text in its output.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/stage.sh
source scripts/stage.sh

start_plane
start_agent web-2
container=web
# The examples name a container `web`; it must not be somebody else's.
if docker container inspect "$container" >/dev/null 2>&1; then
    stage_fail "a container named $container exists here already; remove or rename it to run the examples"
fi
STAGE_CONTAINERS+=("$container")

awk -v folder="$STAGE" '
    /^```/ { if (inside) { inside = 0; close(file) } else if ($0 == "```sh run") { inside = 1; file = folder "/example-" ++n ".sh" } ; next }
    inside { print > file }
' README.md
examples=("$STAGE"/example-*.sh)
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
    done <"$STAGE/example-$number.sh"
done
echo "README.md: $count commands did what they say"
