#!/usr/bin/env bash
# Finds or starts a Docker engine, and makes the test image without a registry.
#
#   scripts/engine.sh ensure   an engine answers when this returns 0 (starts one where it may)
#   scripts/engine.sh image    ensure, and the image turbopanel/test:busybox is there
#   scripts/engine.sh status   says whether an engine answers, changes nothing
#   scripts/engine.sh stop     ends the engine that `ensure` started by hand, and no other
#
# DOCKER_HOST is honoured: an engine that it names is used, and never replaced by another one.
# Standard output stays empty; what is done is told on standard error.
set -euo pipefail

readonly IMAGE=turbopanel/test:busybox
# Raised whenever the recipe below changes, so that an old image is made anew.
readonly RECIPE=1
readonly SOCKET=/var/run/docker.sock
readonly LOG=/var/log/turbopanel-dockerd.log
readonly PID_FILE=/var/run/turbopanel-dockerd.pid
readonly WAIT_SECONDS=60

say() { printf 'engine: %s\n' "$*" >&2; }
fail() {
    printf 'engine: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '        %s\n' "$line" >&2; done
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }
is_debian() { [ -r /etc/debian_version ] && command -v apt-get >/dev/null; }
# With systemd as the first process, systemctl can start services.
has_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }
answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

install_packages() {
    is_debian || return 1
    is_root || return 1
    say "installing $* from apt"
    export DEBIAN_FRONTEND=noninteractive
    local log
    log=$(mktemp)
    if ! { apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt could not install: $*" "Mend what it says above, or install them by hand and try again."
    fi
    rm -f "$log"
}

find_or_install_docker() {
    command -v docker >/dev/null && { answers || command -v dockerd >/dev/null; } && return
    # An engine elsewhere needs the client alone.
    if [ -n "${DOCKER_HOST:-}" ] && command -v docker >/dev/null; then return; fi
    install_packages docker.io iptables busybox-static || fail \
        "there is no Docker engine here, and this script installs one only as root on Debian or Ubuntu." \
        "Install Docker (https://docs.docker.com/engine/install/) or set DOCKER_HOST to an engine, and try again."
}

start_with_systemd() {
    say "starting docker.service"
    systemctl start docker.service || fail \
        "systemd could not start docker.service." "See: journalctl -u docker.service"
}

# A dockerd that is just starting, by an init script or by hand, is given its time.
wait_for_running() {
    local pid deadline=$((SECONDS + WAIT_SECONDS))
    pid=$(cat /var/run/docker.pid 2>/dev/null) || return 0
    while [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && ! answers; do
        [ "$SECONDS" -lt "$deadline" ] || fail "dockerd ($pid) runs but does not answer." "See its log, or end it and try again."
        sleep 0.2
    done
}

# $@: arguments of dockerd. Succeeds when the engine answers in time.
start_by_hand() {
    say "starting dockerd${*:+ ($*)}, log in $LOG"
    mkdir -p "$(dirname "$LOG")"
    # A session of its own and no inherited lock: it outlives this shell.
    setsid nohup dockerd "$@" >>"$LOG" 2>&1 </dev/null 9>&- &
    local pid=$! deadline=$((SECONDS + WAIT_SECONDS))
    echo "$pid" >"$PID_FILE"
    disown "$pid"
    until answers; do
        kill -0 "$pid" 2>/dev/null || return 1
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

ensure() {
    command -v docker >/dev/null && answers && return
    if [ -n "${DOCKER_HOST:-}" ] && [ "$DOCKER_HOST" != "unix://$SOCKET" ]; then
        command -v docker >/dev/null || find_or_install_docker
        answers && return
        fail "no engine answers at DOCKER_HOST=$DOCKER_HOST." "Start that engine, or unset DOCKER_HOST to use the one of this machine."
    fi
    if ! is_root && [ -S "$SOCKET" ] && [ ! -w "$SOCKET" ]; then
        fail "$(id -un) may not use $SOCKET." \
            "Add the user to the group that owns it (usermod -aG docker $(id -un), then log in again), or run this as root."
    fi
    # One at a time: a second caller waits here and then finds the engine running.
    if is_root; then
        exec 9>/var/run/turbopanel-engine.lock
        flock 9
    fi
    find_or_install_docker
    answers || wait_for_running
    answers && return
    is_root || fail "no Docker engine answers at $SOCKET, and only root can start one." \
        "Start it (sudo systemctl start docker, or sudo scripts/engine.sh ensure) and try again."
    if has_systemd; then
        start_with_systemd
        local deadline=$((SECONDS + WAIT_SECONDS))
        until answers; do
            [ "$SECONDS" -lt "$deadline" ] || fail "docker.service runs but does not answer." "See: journalctl -u docker.service"
            sleep 0.2
        done
    else
        start_by_hand || restart_without_firewall
    fi
    say "Docker $(docker version --format '{{.Server.Version}}') answers"
}

# Some kernels have no tables for iptables: containers still run, without published ports.
restart_without_firewall() {
    if ! kill -0 "$(cat "$PID_FILE")" 2>/dev/null && tail -n 40 "$LOG" | grep -qi iptables; then
        say "dockerd cannot use iptables here; trying without"
        start_by_hand --iptables=false --ip6tables=false && return
    fi
    tail -n 15 "$LOG" >&2
    fail "dockerd did not come up within $WAIT_SECONDS s; its last lines stand above, the rest in $LOG." \
        "Mend what they say and try again."
}

is_static() { ! ldd "$1" >/dev/null 2>&1; }

find_busybox() {
    local candidate
    for candidate in "${BUSYBOX:-}" /bin/busybox.static /bin/busybox /usr/bin/busybox; do
        if [ -n "$candidate" ] && [ -x "$candidate" ] && is_static "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

make_image() {
    ensure
    if [ "$(docker image inspect --format '{{index .Config.Labels "dev.turbopanel.recipe"}}' "$IMAGE" 2>/dev/null)" = "$RECIPE" ]; then
        return
    fi
    find_busybox >/dev/null || install_packages busybox-static || true
    local busybox
    busybox=$(find_busybox) || fail "there is no static busybox here." \
        "Install it (Debian: busybox-static) or set BUSYBOX to one, and try again."
    local root
    root=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$root'" EXIT
    mkdir -p "$root"/{bin,dev,etc,home/app,proc,root,run,sys,tmp,usr/bin,usr/sbin,sbin,var/log}
    chmod 0755 "$root"
    chmod 1777 "$root/tmp"
    chown 1000:1000 "$root/home/app" 2>/dev/null || true
    cp "$busybox" "$root/bin/busybox"
    local applet
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'app:x:1000:1000:app:/home/app:/bin/sh' >"$root/etc/passwd"
    printf '%s\n' 'root:x:0:' 'app:x:1000:' >"$root/etc/group"
    tar -C "$root" -c . | docker import \
        --change 'ENV PATH=/bin:/sbin:/usr/bin:/usr/sbin' \
        --change 'CMD ["sh"]' \
        --change "LABEL dev.turbopanel.recipe=$RECIPE" \
        - "$IMAGE" >/dev/null || fail "the engine refused the test image $IMAGE." "Its answer stands above."
    say "made $IMAGE from $busybox"
}

stop_engine() {
    [ -r "$PID_FILE" ] || fail "this script started no engine here." "An engine that was there before is left alone."
    local pid
    pid=$(cat "$PID_FILE")
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
        kill "$pid"
        while kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
        say "ended dockerd ($pid)"
    fi
    rm -f "$PID_FILE"
}

case "${1:-}" in
    ensure) ensure ;;
    image) make_image ;;
    status)
        command -v docker >/dev/null && answers || fail "no Docker engine answers." "Start one: scripts/engine.sh ensure"
        say "Docker $(docker version --format '{{.Server.Version}}') answers at ${DOCKER_HOST:-unix://$SOCKET}"
        ;;
    stop) stop_engine ;;
    *) fail "usage: scripts/engine.sh ensure | image | status | stop" ;;
esac
