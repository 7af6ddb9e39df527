# Sourced by scripts that need the real thing running: a control plane on a free port and a separate
# agent `web-2` that dials it over a WebSocket, each with a state directory of its own, both ended and
# everything removed when the script ends.
#
# Sets PLANE (host:port), AGENT (host:port), ADMIN_TOKEN, AGENT_TOKEN_TEXT, and TURBOPANEL_URL and
# TURBOPANEL_DATA_DIR for the command line. GRPCURL is grpcurl's path.

readonly BIN=${BIN:-target/debug}
STAGE=$(mktemp -d)
STAGE_PIDS=()
STAGE_CONTAINERS=()
GRPCURL=$(scripts/grpcurl.sh)

stage_fail() {
    echo "FAILED: $*" >&2
    for log in "$STAGE"/*.log; do
        [ -s "$log" ] && { echo "--- $(basename "$log")" >&2; tail -n 20 "$log" >&2; }
    done
    exit 1
}

stage_end() {
    local code=$? pid container
    trap - EXIT
    for container in "${STAGE_CONTAINERS[@]}"; do docker rm --force "$container" >/dev/null 2>&1 || true; done
    # The agent first: the control plane's end would only make it redial.
    for ((i = ${#STAGE_PIDS[@]} - 1; i >= 0; i--)); do
        pid=${STAGE_PIDS[i]}
        kill -TERM "$pid" 2>/dev/null || continue
        for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$pid" 2>/dev/null && echo "process $pid had to be killed" >&2 && code=1
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$STAGE"
    exit "$code"
}
trap stage_end EXIT
trap 'exit 130' INT TERM

# A port that nothing listens on now.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# $1: what is waited for; the rest is tried until it succeeds.
await() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || stage_fail "$what did not happen within 30 s"
        sleep 0.1
    done
}

# $1: the address of this machine to listen on, loopback unless it is given. The rest is a command that
# starts a control plane at $PLANE with its state in $TURBOPANEL_DATA_DIR, the program itself if not given.
start_plane() {
    PLANE=${1:-127.0.0.1}:$(free_port)
    export TURBOPANEL_URL=http://$PLANE TURBOPANEL_DATA_DIR=$STAGE/plane
    # Beyond loopback the command line looks for no token by itself.
    [ "${PLANE%%.*}" = 127 ] || export TURBOPANEL_TOKEN_FILE=$STAGE/plane/admin-token
    if [ $# -gt 1 ]; then
        "${@:2}" >"$STAGE/plane.log" 2>&1 &
    else
        "$BIN/turbopanel" serve --listen "$PLANE" --data-dir "$STAGE/plane" >"$STAGE/plane.log" 2>&1 &
    fi
    STAGE_PIDS+=($!)
    await "the control plane's first answer" "$BIN/turbopanel" agents
    ADMIN_TOKEN=$(cat "$STAGE/plane/admin-token")
}

# $1: name. The token is made by the operator's command line, as a person would.
start_agent() {
    local name=$1 answer
    answer=$("$BIN/turbopanel" token create "$name" --json 2>"$STAGE/token.log") ||
        stage_fail "turbopanel token create failed"
    AGENT_TOKEN_TEXT=$(sed -n 's/.*"token" *: *"\([^"]*\)".*/\1/p' <<<"$answer")
    [ -n "$AGENT_TOKEN_TEXT" ] || stage_fail "token create --json printed no token: $answer"
    AGENT=127.0.0.1:$(free_port)
    AGENT_MODE=websocket CONTROL_PLANE_URL=$TURBOPANEL_URL AGENT_TOKEN=$AGENT_TOKEN_TEXT AGENT_NAME=$name \
        AGENT_PORT=${AGENT##*:} AGENT_STATE_DIR=$STAGE/$name \
        "$BIN/turbopanel-agent" >"$STAGE/$name.log" 2>&1 &
    STAGE_PIDS+=($!)
    await "$name's connection" "$BIN/turbopanel" status "$name"
}
