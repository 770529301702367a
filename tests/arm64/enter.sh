#!/bin/sh
# Runs a command in FOLDER/root, which `debian.sh` makes, as on a board: what it starts runs there as well.
#
#     QEMU_CPU=cortex-a72 sh tests/arm64/enter.sh FOLDER COMMAND ...
#
# The command sees this machine's /proc, /dev and /sys, FOLDER/shared as /shared, and FOLDER's QEMU as its processor. Linux 6.7
# and newer let a user namespace have programs of other processors to itself (binfmt_misc), so no root is needed where the
# system allows such namespaces, and this machine's own settings stay as they are.
set -eu
folder=$(cd "$1" && pwd)
shift
export VIT_EDGE_ARM64="$folder"
# shellcheck disable=SC2016  # the inner shell's
exec unshare --user --map-root-user --mount sh -euc '
    binfmt=$VIT_EDGE_ARM64/binfmt root=$VIT_EDGE_ARM64/root
    mkdir -p "$binfmt" "$VIT_EDGE_ARM64/shared" "$root/shared"
    mount -t binfmt_misc binfmt_misc "$binfmt" || { echo "needs Linux 6.7 or newer, with binfmt_misc" >&2; exit 1; }
    # An ELF file of 64 bits, little-endian, a program or a library, for AArch64 (183); F: opened now, seen in any root.
    magic="\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    mask="\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    qemu=${VIT_EDGE_QEMU:-$VIT_EDGE_ARM64/qemu-aarch64}
    printf "%s" ":aarch64:M::$magic:$mask:$qemu:F" > "$binfmt/register"
    for place in proc dev sys; do mount --rbind "/$place" "$root/$place"; done
    mount --bind "$VIT_EDGE_ARM64/shared" "$root/shared"
    exec env -i HOME=/root LANG=C.UTF-8 PATH=/usr/bin:/usr/sbin TERM=dumb QEMU_CPU="${QEMU_CPU:-cortex-a72}" chroot "$root" "$@"
' sh "$@"
