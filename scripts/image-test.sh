#!/usr/bin/env bash
# Starts the agent's image and reaches its agent: scripts/image-test.sh TAG
#
# By the line of `docker run` that `turbopanel token create` prints, once as it is and once without root
# as `turbopanel`. Other are only the container's name, the image's tag and the host's side of the port,
# because this machine may have an agent of its own. Where the engine has no network for containers, they
# get the host's.
set -euo pipefail
tag=$1
cd "$(dirname "$0")/.."
# shellcheck source=scripts/stage.sh
source scripts/stage.sh

# How containers reach the control plane, and this machine their agent.
if gateway=$(docker network inspect bridge --format '{{(index .IPAM.Config 0).Gateway}}' 2>/dev/null) && [ -n "$gateway" ]; then
    # The gateway exists while the engine runs; tokens go to it in the clear, and stay on this machine.
    start_plane "$gateway"
else
    start_plane
fi

# $1: what is edited in a line, $2: what it becomes. Both are taken as they are.
edit() {
    [[ $line == *"$1"* ]] || stage_fail "turbopanel token create printed no '$1': $line"
    line=${line/"$1"/"$2"}
}

# $1: the agent's name; the rest are further options of docker run.
try() {
    local agent=$1 name=turbopanel-image-test-$$-$1 line port token status
    shift
    line=$("$BIN/turbopanel" token create "$agent" 2>/dev/null | sed -n '/^ *docker run/,/[^\\]$/p')
    edit '--name turbopanel-agent' "--name $name $*"
    edit 'turbopanel/agent:latest' "$tag"
    if [ -n "$gateway" ]; then
        edit '-p 18284:18284' '-p 127.0.0.1::18284'
    else
        port=$(free_port)
        edit '-p 18284:18284' "--network host -e AGENT_PORT=$port"
    fi
    STAGE_CONTAINERS+=("$name")
    bash -euo pipefail -c "$line" >/dev/null || stage_fail "docker run failed: ${line//AGENT_TOKEN=*/AGENT_TOKEN=…}"
    docker logs --follow "$name" >"$STAGE/$agent.log" 2>&1 &
    await "the health of $agent" docker exec "$name" /turbopanel-agent health
    await "$agent's connection" "$BIN/turbopanel" ps "$agent"
    "$BIN/turbopanel" ps "$agent" | grep -qF "$name" || stage_fail "turbopanel ps $agent does not list its own container"
    # Its image has no programs, and it must not look as if the host had none.
    said=$("$BIN/turbopanel" exec "$agent" -- uname 2>&1 || true)
    grep -qF 'runs in a container without programs' <<<"$said" || stage_fail "turbopanel exec $agent does not say why it runs nothing: $said"

    [ -z "$gateway" ] || port=$(docker port "$name" 18284 | sed 's/.*://;q')
    token=$(sed -n 's/.*AGENT_TOKEN=\([^ ]*\).*/\1/p' <<<"$line")
    status=$(AGENT_TOKEN=$token "$GRPCURL" -plaintext -expand-headers -H 'authorization: Bearer ${AGENT_TOKEN}' "127.0.0.1:$port" \
        turbopanel.agent.v1.AgentService/GetStatus)
    grep -q '"reachable": true' <<<"$status" || stage_fail "the agent does not reach the engine: $status"
    # SIGKILL would give 137.
    docker stop --time 10 "$name" >/dev/null
    [ "$(docker inspect --format '{{.State.ExitCode}}' "$name")" = 0 ] || stage_fail "docker stop did not end it cleanly"
    docker rm "$name" >/dev/null
    echo "image-test: joins, is healthy, reaches the engine, stops cleanly: docker run ${*:-as printed}"
}

try web-2
try web-3 --user turbopanel:turbopanel --group-add "$(stat -c %g /var/run/docker.sock)"
