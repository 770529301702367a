#!/bin/sh
# Makes FOLDER/root, a Debian of 64-bit ARM with Python, and FOLDER/qemu-aarch64, which plays its processor.
#
#     sh tests/arm64/debian.sh FOLDER
#
# apt fetches the packages and checks their signatures, in a state folder of its own: nothing is installed on this
# machine, and no package's script runs. They come from the mirror that this machine's apt uses for Debian, or from
# deb.debian.org. `DEBIAN_MIRROR` and `DEBIAN_SUITE` choose others. A second run finds its work done.
#
# Debian 13's QEMU is wanted: 7.2 of Debian 12 dies with newer releases of onnxruntime.
set -eu
suite=${DEBIAN_SUITE:-trixie}
packages="base-files bash ca-certificates coreutils dash grep libc-bin libstdc++6 python3 python3-venv sed"
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ ! -e "$folder/root/.done-$suite" ] || exit 0

mirror() {
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 == "Debian" && $2 !~ /security/ { print $2; exit }'
}
mirror=${DEBIAN_MIRROR:-$(mirror)}
apt=$folder/apt
rm -rf "$folder/root"
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$folder/root"
: > "$apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} $suite main" \
    > "$apt/sources.list"
cat > "$apt/apt.conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; "$(dpkg --print-architecture)"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
END
export APT_CONFIG="$apt/apt.conf"
apt-get --quiet=2 update
# shellcheck disable=SC2086  # words of their own
apt-get --quiet=2 --yes --download-only install $packages > "$apt/log"
(cd "$apt" && apt-get --quiet=2 download "qemu-user:$(dpkg --print-architecture)")

dpkg-deb --fsys-tarfile "$apt"/qemu-user_*.deb | tar --extract --to-stdout ./usr/bin/qemu-aarch64 > "$folder/qemu-aarch64"
chmod +x "$folder/qemu-aarch64"
# First the one that says that /bin is /usr/bin.
for package in "$apt"/cache/archives/base-files_*.deb "$apt"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$folder/root"
done
echo 'root:x:0:0:root:/root:/bin/bash' > "$folder/root/etc/passwd"
echo 'root:x:0:' > "$folder/root/etc/group"
# What scripts of the packages would do, as far as Python and pip want it.
mkdir -p "$folder/root/etc/ssl/certs"
cat "$folder"/root/usr/share/ca-certificates/mozilla/*.crt > "$folder/root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$apt"
touch "$folder/root/.done-$suite"
