#!/usr/bin/env bash
# Starts the agent's image as the documentation says and asks for its health: scripts/image-test.sh TAG
#
# Once as documented, once without root as `turbopanel`. No control plane answers: the local port and
# the engine's socket are what counts here.
set -euo pipefail
tag=$1
name=turbopanel-image-test-$$
trap 'docker rm --force "$name" >/dev/null 2>&1 || true' EXIT

# $@: options of docker run.
try() {
    docker run --detach --name "$name" \
        --publish 127.0.0.1::18284 \
        --env AGENT_MODE=websocket \
        --env CONTROL_PLANE_URL=http://127.0.0.1:9 \
        --env AGENT_TOKEN=image-test-token \
        --volume /var/run/docker.sock:/var/run/docker.sock \
        "$@" "$tag" >/dev/null
    local deadline=$((SECONDS + 15)) port status
    until docker exec "$name" /turbopanel-agent health >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            docker logs "$name" >&2
            echo "image-test: the container does not answer on 18284 ($*)" >&2
            exit 1
        fi
        sleep 0.1
    done
    port=$(docker port "$name" 18284 | sed 's/.*://;q')
    status=$("$grpcurl" -plaintext -H 'authorization: Bearer image-test-token' "127.0.0.1:$port" \
        turbopanel.agent.v1.AgentService/GetStatus)
    grep -q '"reachable": true' <<<"$status" || {
        echo "$status" >&2
        echo "image-test: the agent does not reach the engine ($*)" >&2
        exit 1
    }
    # SIGKILL would give 137.
    docker stop --time 10 "$name" >/dev/null
    [ "$(docker inspect --format '{{.State.ExitCode}}' "$name")" = 0 ] || {
        docker logs "$name" >&2
        echo "image-test: docker stop did not end it cleanly ($*)" >&2
        exit 1
    }
    docker rm "$name" >/dev/null
    echo "image-test: healthy, reaches the engine, stops cleanly: docker run ${*:-as documented}"
}

grpcurl=$("$(dirname "$0")/grpcurl.sh")
try
try --user turbopanel:turbopanel --group-add "$(stat -c %g /var/run/docker.sock)"
