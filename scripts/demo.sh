#!/usr/bin/env bash
# Shows everything once, with real parts: `make demo`. Asks nothing, prints each step, cleans up.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/stage.sh
source scripts/stage.sh

step() { printf '\n== %s\n' "$*"; }
# Prints a command as a person would type it, and runs it.
run() {
    case $1 in
        tp) printf '$ turbopanel' ;;
        by_plane) printf "%s" "\$ grpcurl -plaintext -expand-headers -H 'authorization: Bearer \${ADMIN_TOKEN}' -H 'turbopanel-agent: web-2'" ;;
        by_agent) printf "%s" "\$ grpcurl -plaintext -expand-headers -H 'authorization: Bearer \${AGENT_TOKEN}'" ;;
    esac
    local argument
    for argument in "${@:2}"; do
        # Quoted only where a shell would need it.
        case $argument in
            *[!A-Za-z0-9_./:=-]*) printf " '%s'" "$argument" ;;
            *) printf ' %s' "$argument" ;;
        esac
    done
    printf '\n'
    "$@"
}
# $1: a text that must be in the output of the rest.
expect() {
    local text=$1 output
    shift
    output=$(run "$@" 2>&1) || stage_fail "'$*' failed: $output"
    echo "$output"
    grep -qF -- "$text" <<<"$output" || stage_fail "the answer lacks '$text'"
}
tp() { "$BIN/turbopanel" "$@"; }
# grpcurl itself takes the tokens from the environment: arguments can be read by every user.
# shellcheck disable=SC2016
by_plane() { ADMIN_TOKEN=$ADMIN_TOKEN "$GRPCURL" -plaintext -expand-headers -H 'authorization: Bearer ${ADMIN_TOKEN}' -H 'turbopanel-agent: web-2' "$@"; }
# shellcheck disable=SC2016
by_agent() { AGENT_TOKEN=$AGENT_TOKEN_TEXT "$GRPCURL" -plaintext -expand-headers -H 'authorization: Bearer ${AGENT_TOKEN}' "$@"; }

container=turbopanel-demo-$$

step "A control plane, and an agent web-2 that dials it"
start_plane
start_agent web-2
echo "control plane $PLANE, agent web-2 with its own port $AGENT"
expect web-2 tp agents

step "A container, created and started by gRPC through the control plane"
STAGE_CONTAINERS+=("$container")
expect '"id"' by_plane -d '{
  "name": "'"$container"'", "image": "turbopanel/test:busybox",
  "command": ["sh", "-c", "trap \"exit 0\" TERM; i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done"]
}' "$PLANE" turbopanel.agent.v1.ContainerService/CreateContainer
expect '{' by_plane -d '{"container": "'"$container"'"}' "$PLANE" turbopanel.agent.v1.ContainerService/StartContainer
expect "$container" tp ps web-2

step "Its log, followed until the fifth tick: the command line, over frames"
printf '$ turbopanel logs web-2/%s -f\n' "$container"
# The follower ends by SIGPIPE once the reader has what it wanted; sed drains at most one line more.
{ timeout 30 "$BIN/turbopanel" logs "web-2/$container" -f || true; } | sed '/tick 5$/q' >"$STAGE/ticks"
cat "$STAGE/ticks"
grep -q 'tick 5$' "$STAGE/ticks" || stage_fail "the log did not reach its fifth line"

step "A command in the container, and one on the host"
expect 'in the container' tp exec "web-2/$container" -- echo 'in the container'
expect "$(uname -r)" tp exec web-2 -- uname -r
code=0
tp exec web-2 -- sh -c 'exit 7' || code=$?
[ "$code" = 7 ] || stage_fail "the command's exit code 7 arrived as $code"
echo "and its exit code arrives: $code"

step "The same call in three ways"
echo "1. the command line, over frames"
expect web-2 tp status web-2
echo "2. grpcurl on the control plane's port, metadata turbopanel-agent: web-2"
expect '"web-2"' by_plane "$PLANE" turbopanel.agent.v1.AgentService/GetStatus
echo "3. grpcurl on the agent's own port"
expect '"web-2"' by_agent "$AGENT" turbopanel.agent.v1.AgentService/GetStatus

step "The container goes again"
expect '{' by_agent -d '{"container": "'"$container"'", "force": true}' "$AGENT" turbopanel.agent.v1.ContainerService/RemoveContainer

printf '\nAll of it worked.\n'
