"""Puts the built wheel and the wheels that it needs beside an arm64 root, and installs them there as the guide says.

    python tests/arm64/install.py FOLDER [REQUIREMENT ...]

This machine's pip fetches wheels for 64-bit ARM, so that the root needs neither a network nor this machine's settings.
The pip of the root then installs them, without an index, into FOLDER/root/root/vit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
PYTHON = "3.13"  # trixie's
GLIBC = ("2_39", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")
# libstdc++6 is on each board, since apt needs it.
PACKAGES = ["base-files", "bash", "ca-certificates", "coreutils", "dash", "grep", "libc-bin", "libstdc++6", "sed"]
PACKAGES += ["python3", "python3-venv"]
PLATFORMS = [f"manylinux_{version}_aarch64" for version in GLIBC] + ["manylinux2014_aarch64"]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]

GUIDE = """
cd ~
export PIP_NO_INDEX=1 PIP_FIND_LINKS=/shared/wheels PIP_DISABLE_PIP_VERSION_CHECK=1
[ -d ~/vit ] || python3 -m venv ~/vit
source ~/vit/bin/activate
pip install --quiet --force-reinstall --no-deps {wheel}
pip install --quiet '{wheel}[cpu]' {more}
"""


def run_on_device(folder: Path, command: str, *, core: str = "cortex-a72") -> subprocess.CompletedProcess[str]:
    """Runs a line of bash in the root, on a processor core that QEMU plays."""
    return subprocess.run(
        ["sh", HERE / "enter.sh", folder, "bash", "-euc", command],
        env=os.environ | {"QEMU_CPU": core},
        capture_output=True,
        text=True,
        check=False,
    )


def make_root(folder: Path) -> None:
    """Makes FOLDER/root, an ARM Debian with Python, and FOLDER/qemu-aarch64, where they are missing.

    Debian 13's QEMU is wanted: 7.2 of Debian 12 dies with newer releases of onnxruntime.
    """
    subprocess.run(["sh", HERE / "debian.sh", folder / "root", "arm64", *PACKAGES], check=True)
    if not (qemu := folder / "qemu-aarch64").exists():
        own = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout
        subprocess.run(["sh", HERE / "debian.sh", folder / "qemu", own.strip(), "qemu-user"], check=True)
        (folder / "qemu/usr/bin/qemu-aarch64").rename(qemu)
        shutil.rmtree(folder / "qemu")


def wheels_for_device(wheels: Path, requirements: list[str]) -> None:
    """Fetches wheels for the root's Python and processor with this machine's pip."""
    target = [f"--platform={platform}" for platform in PLATFORMS]
    target += [f"--python-version={PYTHON}", "--implementation=cp", "--only-binary=:all:"]
    subprocess.run([*PIP, "download", "--dest", wheels, *target, *requirements], check=True)


def fetch(folder: Path, more: list[str]) -> Path:
    """Builds the project's wheel and fetches what it needs; the folder of all the wheels."""
    wheels = folder / "shared/wheels"
    for old in wheels.glob("vit_edge-*.whl"):
        old.unlink()
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", wheels, PROJECT], check=True)
    (wheel,) = wheels.glob("vit_edge-*.whl")
    wheels_for_device(wheels, [f"{wheel}[cpu]", *more])
    return wheels


def install(folder: Path, more: list[str]) -> None:
    """Makes the root where there is none, and installs into it."""
    make_root(folder)
    (wheel,) = fetch(folder, more).glob("vit_edge-*.whl")
    done = run_on_device(folder, GUIDE.format(wheel=f"/shared/wheels/{wheel.name}", more=" ".join(map(repr, more))))
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}the wheel could not be installed in {folder / 'root'}")


if __name__ == "__main__":
    install(Path(sys.argv[1]).resolve(), sys.argv[2:])
