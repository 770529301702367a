"""Imports between packages and rooms run one way, and import-linter sees the one that does not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("runtime/vit_runtime", "export/vit_export", "bench/vit_bench")


def broken_contracts(folder: Path, *, status: int) -> list[str]:
    """The names of the contracts that the packages in `folder` break."""
    script = Path(sys.executable).with_name("lint-imports")
    command = [script, "--no-cache", "--no-logo"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return re.findall(r"^(.+) BROKEN$", re.sub(r"\x1b\[[0-9;]*m", "", done.stdout), flags=re.MULTILINE)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with the packages and the settings, which tests may change; import-linter looks there first."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_arrows_run_one_way(copied: Path):
    assert broken_contracts(copied, status=0) == []


WRONG = {
    "from the device to the workstation": ("vit_runtime/pictures", "import vit_export", "vit_bench -> vit_export"),
    "from the exporter to the benchmark": ("vit_export/write", "import vit_bench", "vit_bench -> vit_export"),
    "from the schema to pictures": ("vit_runtime/artifact", "import vit_runtime.pictures", "vit_runtime: "),
    "from devices to the model": ("vit_runtime/devices", "import vit_runtime.model", "vit_runtime: "),
    "from pictures to watching": ("vit_runtime/pictures", "import vit_runtime.watching", "vit_runtime: "),
    "from the model to the service": ("vit_runtime/workers", "import vit_runtime.serving", "vit_runtime: cli"),
    "between pictures and devices": ("vit_runtime/pictures", "import vit_runtime.devices", "vit_runtime: "),
    "from pictures to where they come from": ("vit_runtime/pictures", "import vit_runtime.sources", "vit_runtime: "),
    "from sources to the model": ("vit_runtime/sources", "import vit_runtime.model", "vit_runtime: "),
    "from searching to pictures": ("vit_runtime/searching", "import vit_runtime.pictures", "vit_runtime: searching"),
    "from searching to the model": ("vit_runtime/searching", "import vit_runtime.model", "vit_runtime: cli"),
    "from workers to the model": ("vit_runtime/workers", "import vit_runtime.model", "vit_runtime: cli"),
    "from readers to writers": ("vit_export/read", "import vit_export.write", "vit_export: cli"),
    "from writers to int8": ("vit_export/write", "import vit_export.int8", "vit_export: cli"),
    "from int8 to readers": ("vit_export/int8", "import vit_export.read", "vit_export: int8"),
    "from the verifier to writers": ("vit_export/verify", "import vit_export.write", "vit_export: verify"),
    "from measuring to the report": ("vit_bench/measure", "import vit_bench.report", "vit_bench: "),
    "from the report to measuring": ("vit_bench/report", "import vit_bench.measure", "vit_bench: "),
    "inside a function": ("vit_export/read", "def late():\n    import vit_export.exporter", "vit_export: cli"),
    "for types alone": (
        "vit_export/read",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import vit_export.verify",
        "vit_export: cli",
    ),
}
"""By arrow: where a module with it is added, the module, and how the contract begins that it breaks."""


@pytest.mark.parametrize("arrow", WRONG)
def test_a_wrong_arrow_is_found(arrow: str, copied: Path):
    folder, content, contract = WRONG[arrow]
    (copied / folder / "added.py").write_text(content, encoding="utf-8")
    assert [name for name in broken_contracts(copied, status=1) if name.startswith(contract)]


def test_a_circle_in_a_room_is_found(copied: Path):
    for name, other in (("chicken", "egg"), ("egg", "chicken")):
        (copied / f"vit_export/read/{name}.py").write_text(f"import vit_export.read.{other}")
    assert broken_contracts(copied, status=1) == ["No circle in a package, nor in a room"]
