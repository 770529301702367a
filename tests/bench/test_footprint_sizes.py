"""What has to be installed for a contender, and what that takes on disk: made-up distributions and real ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest

import vit_bench
import vit_export
import vit_runtime
from vit_bench.measure.footprint import installed_bytes, requirements

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes a distribution as pip leaves one: METADATA, and a RECORD of its files by path and size."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])

    def make(
        name: str,
        *needs: str,
        extras: Sequence[str] = (),
        files: dict[str, int] | None = None,
        unrecorded: bool = False,
    ) -> None:
        info = tmp_path / "site" / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
        lines += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {need}" for need in needs]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        for path, size in (files or {}).items():
            (info.parent / path).parent.mkdir(parents=True, exist_ok=True)
            (info.parent / path).write_bytes(bytes(size))
        if not unrecorded:
            (info / "RECORD").write_text("".join(f"{path},,{size}\n" for path, size in (files or {}).items()))

    return make


def names(*wanted: str) -> list[str]:
    return sorted(package.metadata["Name"] for package in requirements(wanted))


# What has to be installed.


def test_all_that_is_needed_in_turn_counts_once(install: Install):
    install("made-up-top", "made-up-left", "made-up-right>=0.5")
    install("made-up-left", "made-up-bottom")
    install("made-up-right", "made-up-bottom (<2)")
    install("made-up-bottom")
    install("made-up-stranger")
    everything = ["made-up-bottom", "made-up-left", "made-up-right", "made-up-top"]
    assert names("made-up-top") == everything
    assert names("made-up-top", "made-up-right", "made-up-top") == everything
    assert names("made-up-bottom") == ["made-up-bottom"]
    assert names() == []


def test_a_circle_has_an_end(install: Install):
    install("made-up-hen", "made-up-egg")
    install("made-up-egg", "made-up-hen")
    assert names("made-up-hen") == ["made-up-egg", "made-up-hen"]


def test_what_is_not_installed_is_left_out(install: Install):
    install("made-up-top", "made-up-gone", "made-up-there")
    install("made-up-there")
    assert names("made-up-top", "made-up-gone-too") == ["made-up-there", "made-up-top"]


def test_other_spellings_are_the_same_distribution(install: Install):
    install("made-up-top", "Made_Up.Bottom", "made-up-bottom")
    install("made-up-bottom")
    assert names("MADE_UP_TOP", "made-up-top") == ["made-up-bottom", "made-up-top"]


def test_a_condition_decides(install: Install):
    install(
        "made-up-top",
        "made-up-yes; python_version >= '3.10'",
        f"made-up-here; sys_platform == '{sys.platform}'",
        "made-up-no; python_version < '3.10'",
        "made-up-elsewhere; sys_platform == 'a system that nobody has'",
    )
    for name in ("yes", "here", "no", "elsewhere"):
        install(f"made-up-{name}")
    assert names("made-up-top") == ["made-up-here", "made-up-top", "made-up-yes"]


@pytest.fixture
def with_extras(install: Install) -> None:
    fast = ["made-up-fast; extra == 'fast'", "made-up-never; extra == 'fast' and python_version < '3.10'"]
    install("made-up-core", "made-up-base", *fast, "made-up-small; extra == 'small'", extras=["fast", "small"])
    for name in ("base", "fast", "never", "small"):
        install(f"made-up-{name}")
    install("made-up-asks", "made-up-core[fast]")


@pytest.mark.usefixtures("with_extras")
@pytest.mark.parametrize(
    ("asked", "brought"),
    [
        (("made-up-core",), ()),
        (("made-up-core[fast]",), ("fast",)),
        (("made-up-core[Fast, small]",), ("fast", "small")),
        (("made-up-core[unknown]",), ()),
    ],
)
def test_extras_bring_what_was_asked_for(asked: tuple[str, ...], brought: tuple[str, ...]):
    assert names(*asked) == sorted(f"made-up-{name}" for name in ("base", "core", *brought))


@pytest.mark.usefixtures("with_extras")
@pytest.mark.parametrize("asked", [("made-up-core", "made-up-asks"), ("made-up-asks", "made-up-core")])
def test_extras_count_whoever_asks_first(asked: tuple[str, ...]):
    """One needs the plain distribution and the other an extra of it: pip installs the extra's needs as well."""
    assert names(*asked) == ["made-up-asks", "made-up-base", "made-up-core", "made-up-fast"]


def test_any_build_of_onnxruntime_counts(install: Install):
    install("made-up-top", "onnxruntime>=1.20")
    install("onnxruntime-gpu", "made-up-cuda")
    install("made-up-cuda")
    assert {"onnxruntime-gpu", "made-up-cuda"} <= set(names("made-up-top"))


def test_the_runtime_needs_neither_torch_nor_onnx():
    """Only numpy, pillow, typer, onnxruntime and what these need in turn, of all that is installed here."""
    found = names("vit-edge", "onnxruntime")
    assert len(found) == len(set(found))
    lowered = {name.lower() for name in found}
    assert {"vit-edge", "onnxruntime", "numpy", "pillow", "typer"} <= lowered
    unwanted = {"torch", "torchvision", "onnx", "safetensors", "huggingface-hub", "huggingface_hub", "matplotlib"}
    assert not unwanted & lowered
    assert version("torch")  # it is here, and left out all the same


def test_pytorch_brings_torch_and_what_that_needs():
    lowered = {name.lower() for name in names("torch", "torchvision")}
    assert {"torch", "torchvision", "numpy", "sympy"} <= lowered
    assert not {"vit-edge", "onnxruntime"} & lowered


def test_asking_for_export_brings_torch():
    assert "torch" in names("vit-edge[export]")


# What that takes on disk.


def test_a_distribution_takes_what_its_recorded_files_take(install: Install):
    """Compiled Python and scripts included."""
    files = {"made/up.py": 1000, "made/__pycache__/up.cpython-311.pyc": 300, "made/lib.so": 50_000, "../bin/up": 7}
    install("made-up-sized", files=files)
    assert installed_bytes(distribution("made-up-sized")) == 51_307


def test_files_that_are_gone_and_files_of_others_take_nothing(install: Install, tmp_path: Path):
    install("made-up-sized", files={"made/up.py": 1000, "made/gone.py": 99})
    (tmp_path / "site" / "made" / "gone.py").unlink()
    (tmp_path / "site" / "made" / "not recorded.bin").write_bytes(bytes(500))
    assert installed_bytes(distribution("made-up-sized")) == 1000


def test_without_a_record_nobody_knows(install: Install):
    install("made-up-sized", files={"made/up.py": 1000}, unrecorded=True)
    assert installed_bytes(distribution("made-up-sized")) == 0


def test_sizes_of_real_distributions_are_plausible():
    """numpy has its own compiled libraries; typer is some Python."""
    assert installed_bytes(distribution("numpy")) > 10_000_000
    assert 100_000 < installed_bytes(distribution("typer")) < 10_000_000


def test_vit_edge_takes_its_three_packages_however_it_is_installed():
    """An editable installation records a .pth file alone."""
    folders = [Path(str(module.__file__)).parent for module in (vit_runtime, vit_export, vit_bench)]
    sources = sum(file.stat().st_size for folder in folders for file in folder.rglob("*.py"))
    assert sources <= installed_bytes(distribution("vit-edge")) < 10 * sources


def test_made_up_distributions_are_gone_again():
    with pytest.raises(PackageNotFoundError):
        distribution("made-up-top")
