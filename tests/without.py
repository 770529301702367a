"""Interpreters in which packages are missing, as torch is on a device."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

WORKSTATION = ("torch", "torchvision", "onnx", "safetensors", "huggingface_hub", "vit_export", "vit_bench")
"""What a device does not have."""
HIDING = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {packages!r} else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""


def environment_without(packages: Iterable[str], folder: Path) -> dict[str, str]:
    """Variables with which Python, and all that it starts, finds none of the packages; writes into the folder."""
    (folder / "sitecustomize.py").write_text(HIDING.replace("{packages!r}", repr(set(packages))), encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(folder), before)))}


def run_without(packages: Iterable[str], script: str, *args: object) -> str:
    """What a script prints in an interpreter without the packages; warnings are errors."""
    command = [sys.executable, "-W", "error", "-c", f"import sys\n{script}", *map(str, args)]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command,
            env=environment_without(packages, Path(folder)),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout
