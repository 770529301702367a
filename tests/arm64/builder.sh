#!/bin/sh
# Runs a command in FOLDER/builder, a Debian of this machine's own processor that `count.py` builds QEMU in.
#
#     sh tests/arm64/builder.sh FOLDER COMMAND ...
#
# The command sees the ARM root as /arm, FOLDER/shared as /shared, and this folder as /scripts.
set -eu
VIT_EDGE_SCRIPTS=$(cd "$(dirname "$0")" && pwd)
VIT_EDGE_ARM64=$(cd "$1" && pwd)
export VIT_EDGE_SCRIPTS VIT_EDGE_ARM64
shift
# shellcheck disable=SC2016  # the inner shell's
exec unshare --user --map-root-user --mount sh -euc '
    root=$VIT_EDGE_ARM64/builder
    mkdir -p "$root/arm" "$root/shared" "$root/scripts"
    for place in proc dev sys; do mount --rbind "/$place" "$root/$place"; done
    mount --bind "$VIT_EDGE_ARM64/root" "$root/arm"
    mount --bind "$VIT_EDGE_ARM64/shared" "$root/shared"
    mount --bind "$VIT_EDGE_SCRIPTS" "$root/scripts"
    exec env -i HOME=/root LANG=C.UTF-8 PATH=/usr/bin:/usr/sbin chroot "$root" "$@"
' sh "$@"
