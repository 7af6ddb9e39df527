#!/usr/bin/env bash
# Lays out the files of the agent's image: scripts/rootfs.sh BINARY FOLDER
#
# FOLDER/rootfs is the image's root; FOLDER/state becomes the state directory, owned by `turbopanel`.
set -euo pipefail
binary=$1 folder=$2

rm -rf "$folder"
mkdir -p "$folder/rootfs/etc" "$folder/rootfs/tmp" "$folder/state"
install -m 0755 "$binary" "$folder/rootfs/turbopanel-agent"
printf '%s\n' 'root:x:0:0:root:/:/sbin/nologin' \
    'turbopanel:x:18284:18284:TurboPanel agent:/var/lib/turbopanel-agent:/sbin/nologin' >"$folder/rootfs/etc/passwd"
printf '%s\n' 'root:x:0:' 'turbopanel:x:18284:' >"$folder/rootfs/etc/group"
chmod 1777 "$folder/rootfs/tmp"
chmod 0700 "$folder/state"
