"""Counts the instructions that a pass executes on ARM cores: how many, and of which kinds.

    make count-arm64                    # after `make test-arm64`, which exports the files

Counted, not timed: an instruction of one kind may take longer than another. Debian's QEMU for single programs takes
no plug-ins, so the first run builds it from Debian's source, in a Debian of its own (10 minutes, 2 GB).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CORES = ("cortex-a72", "cortex-a76")
PACKAGES = ["base-files", "bash", "ca-certificates", "coreutils", "dash", "diffutils", "findutils", "gcc", "grep"]
PACKAGES += ["libc-bin", "libc6-dev", "libglib2.0-dev", "make", "mawk", "meson", "ninja-build", "pkgconf", "python3"]
PACKAGES += ["python3-packaging", "python3-pycotap", "python3-venv", "sed"]
QEMU = "/usr/src/qemu/build/qemu-aarch64"
BUILD = f"""
[ -e /usr/bin/awk ] || ln -s mawk /usr/bin/awk
cd /usr/src/qemu
if [ ! -e {QEMU} ]; then
    mkdir -p build && cd build
    ../configure --cc=gcc --target-list=aarch64-linux-user --without-default-features --enable-plugins \\
        --disable-system --disable-tools --disable-docs --disable-install-blobs --disable-download
    ninja qemu-aarch64
fi
gcc -O2 -Wall -shared -fPIC $(pkg-config --cflags glib-2.0) -I/usr/src/qemu/include/qemu -o /count.so /scripts/count.c
"""


def build(folder: Path) -> None:
    """Makes the Debian to build in, QEMU and the plug-in, where they are missing."""
    own = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()
    make = ["env", "SOURCE=qemu", "sh", HERE / "debian.sh", folder / "builder", own, *PACKAGES]
    subprocess.run(make, check=True)
    done = subprocess.run(
        ["sh", HERE / "builder.sh", folder, "sh", "-euc", BUILD], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout[-3000:]}{done.stderr[-3000:]}QEMU could not be built")


def count(folder: Path, core: str, model: str) -> dict[str, int]:
    """Instructions of one pass by kind: of the second one that is counted."""
    python = ["-E", "PYTHONHOME=/arm/usr", "-E", "PYTHONPATH=/arm/root/vit/lib/python3.13/site-packages"]
    qemu = [QEMU, "-cpu", core, "-plugin", "/count.so", "-L", "/arm", *python, "/arm/usr/bin/python3.13"]
    command = ["sh", HERE / "builder.sh", folder, *qemu, "/scripts/passes.py", f"/shared/models/{model}.onnx", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    counts = [json.loads(line[6:]) for line in done.stderr.splitlines() if line.startswith("COUNT ")]
    if done.returncode != 0 or len(counts) != 3:
        sys.exit(f"{done.stderr}{core}, {model}: exit status {done.returncode}")
    result: dict[str, int] = {}
    for (kind, before), (_, after) in zip(counts[1], counts[2], strict=True):
        result[kind] = result.get(kind, 0) + after - before
    return result


def main() -> None:
    """Prints a table in millions of instructions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", help="names in FOLDER/shared/models; all where none is given")
    options = parser.parse_args()
    folder = options.folder.resolve()
    build(folder)
    models = options.models or sorted(path.stem for path in (folder / "shared/models").glob("*.onnx"))
    for core in CORES:
        for model in models:
            kinds = count(folder, core, model)
            words = [f"{kind} {number / 1e6:.1f}" for kind, number in kinds.items() if number >= 5e4]
            print(f"{core}  {model:<16}{sum(kinds.values()) / 1e6:>8.1f} million: {', '.join(words)}", flush=True)


if __name__ == "__main__":
    main()
