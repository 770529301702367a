#!/bin/sh
# Makes ROOT, a folder of unpacked Debian packages and what they depend on, to be entered by `enter.sh` or chroot.
#
#     sh tests/arm64/debian.sh ROOT ARCHITECTURE PACKAGE ...
#     SOURCE=qemu sh tests/arm64/debian.sh ...            # and a package's source, in ROOT/usr/src
#
# apt fetches the packages and checks their signatures, in a state folder of its own: nothing is installed on this
# machine, and no package's script runs. They come from the mirror that this machine's apt uses for Debian.
# `DEBIAN_MIRROR` and `DEBIAN_SUITE` choose others. A second run finds its work done.
set -eu
suite=${DEBIAN_SUITE:-trixie}
mkdir -p "$1"
root=$(cd "$1" && pwd)
architecture=$2
shift 2
done="$suite $architecture $* ${SOURCE:-}"
[ "$(cat "$root/.done" 2>/dev/null)" != "$done" ] || exit 0
rm -rf "$root"

# shellcheck disable=SC2016  # apt's variables
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk '$1 == "Debian" && $2 !~ /security/ { print $2; exit }')}
[ -n "$mirror" ] || { echo "apt names no mirror of Debian here; name one by DEBIAN_MIRROR" >&2; exit 1; }
apt=$root.apt
rm -rf "$apt"
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$root"
: > "$apt/status"
for kind in deb deb-src; do
    echo "$kind [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "$mirror $suite main" >> "$apt/sources.list"
done
cat > "$apt/apt.conf" <<END
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
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
apt-get --quiet=2 --yes --download-only install "$@" > "$apt/log"

# First the package that says that /bin is /usr/bin.
for package in "$apt"/cache/archives/base-files_*.deb "$apt"/cache/archives/*.deb; do
    [ ! -e "$package" ] || dpkg-deb --extract "$package" "$root"
done
if [ -n "${SOURCE:-}" ]; then
    (cd "$apt" && apt-get --quiet=2 source --download-only "$SOURCE" > log 2>&1)
    mkdir -p "$root/usr/src/$SOURCE"
    tar --extract --no-same-owner --strip-components 1 --directory "$root/usr/src/$SOURCE" --file "$apt"/*.orig.tar.*
fi
# What scripts of the packages would do, as far as Python and pip want it.
if [ -d "$root/usr/share/ca-certificates" ]; then
    mkdir -p "$root/etc/ssl/certs"
    cat "$root"/usr/share/ca-certificates/mozilla/*.crt > "$root/etc/ssl/certs/ca-certificates.crt"
    echo 'root:x:0:0:root:/root:/bin/bash' > "$root/etc/passwd"
    echo 'root:x:0:' > "$root/etc/group"
fi
rm -rf "$apt"
echo "$done" > "$root/.done"
