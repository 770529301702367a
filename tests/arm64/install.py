"""Puts the built wheel and the wheels that it needs beside an arm64 root, and installs them there as the guide says.

    python tests/arm64/install.py FOLDER [REQUIREMENT ...]

This machine's pip fetches wheels for 64-bit ARM, so that the root needs neither a network nor this machine's settings.
The pip of the root then installs them, without an index, into FOLDER/root/root/vit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
PYTHON = "3.13"  # trixie's
GLIBC = ("2_39", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")
PLATFORMS = [f"manylinux_{version}_aarch64" for version in GLIBC] + ["manylinux2014_aarch64"]

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


def fetch(folder: Path, more: list[str]) -> Path:
    """Builds the project's wheel and fetches what it needs; the folder of all the wheels."""
    wheels = folder / "shared/wheels"
    for old in wheels.glob("vit_edge-*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, PROJECT], check=True)
    (wheel,) = wheels.glob("vit_edge-*.whl")
    target = [f"--platform={platform}" for platform in PLATFORMS]
    target += [f"--python-version={PYTHON}", "--implementation=cp", "--only-binary=:all:"]
    subprocess.run([*pip, "download", "--dest", wheels, *target, f"{wheel}[cpu]", *more], check=True)
    return wheels


def install(folder: Path, more: list[str]) -> None:
    """Makes the root where there is none, and installs into it."""
    subprocess.run(["sh", HERE / "debian.sh", folder], check=True)
    (wheel,) = fetch(folder, more).glob("vit_edge-*.whl")
    done = run_on_device(folder, GUIDE.format(wheel=f"/shared/wheels/{wheel.name}", more=" ".join(map(repr, more))))
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}the wheel could not be installed in {folder / 'root'}")


if __name__ == "__main__":
    install(Path(sys.argv[1]).resolve(), sys.argv[2:])
