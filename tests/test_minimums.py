"""The oldest versions that pyproject.toml allows have no known hole: nobody lowers one by accident."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

tomllib = pytest.importorskip("tomllib", reason="the standard library reads TOML from Python 3.11 on")

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
CONSTRAINTS = PYPROJECT.parent / ".ci/constraints-3.11-linux-x86_64.txt"
NOT_IN_CI = {
    "axe-playwright-python",
    "executorch",
    "onnxruntime-ep-nv-tensorrt-rtx",
    "onnxruntime-ep-openvino",
    "onnxruntime-ep-webgpu",
    "onnxruntime-gpu",
    "onnxruntime-qnn",
    "playwright",
}
"""Its environment holds one build of onnxruntime, since they exclude each other, no ExecuTorch, and no browser."""

FIRST_WITHOUT = {
    "huggingface-hub": ("1.26", "pull request 4540: file names of a repository lead out of the folder"),
    "numpy": ("1.22.2", "CVE-2021-41495: null pointer"),
    "onnx": ("1.22", "CVE-2026-27489, -34446, -34447: reads files outside the folder; CVE-2026-44512: crash"),
    "pillow": ("13.0", "CVE-2026-96639, CVE-2026-112403: pictures of several frames, and JPEG, corrupt memory"),
    "torch": ("2.10", "CVE-2026-24747, CVE-2025-32434: a .pth runs code in spite of weights_only=True"),
}
"""By package: the first version without the newest hole that concerns us, and that hole. Raise it with the next one."""
FIRST_WITHOUT_ON_3_10 = FIRST_WITHOUT | {
    "pillow": ("12.3", "CVE-2026-59199: paste and crop write past a picture; no later Pillow runs on Python 3.10"),
}


def requirements() -> Iterator[Requirement]:
    """What the package and each of its extras ask for; not where they name one another."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    for group in (project["dependencies"], *project["optional-dependencies"].values()):
        yield from (needed for needed in map(Requirement, group) if needed.name != project["name"])


def minimum(package: str, python: str) -> Version:
    """The oldest version that is allowed on that Python; fails where there is not exactly one such bound."""
    (bound,) = {
        specifier.version
        for needed in requirements()
        if needed.name == package and (needed.marker is None or needed.marker.evaluate({"python_version": python}))
        for specifier in needed.specifier
        if specifier.operator == ">="
    }
    return Version(bound)


@pytest.mark.parametrize("package", FIRST_WITHOUT)
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.14"])
def test_the_oldest_version_allowed_has_no_known_hole(package: str, python: str):
    first, hole = (FIRST_WITHOUT_ON_3_10 if python == "3.10" else FIRST_WITHOUT)[package]
    assert minimum(package, python) >= Version(first), hole


def test_torchvision_is_the_pair_of_torch():
    """Each release of torchvision is built for one of torch: 0.19 for 2.4, 0.25 for 2.10, always 15 apart."""
    torch = minimum("torch", "3.10")
    assert torch.major == 2
    assert minimum("torchvision", "3.10") == Version(f"0.{torch.minor + 15}")


def test_releases_of_onnxruntime_with_a_known_fault_are_not_taken():
    """1.21.0 dies at import on a Raspberry Pi 4; 1.24.1 refuses weights beside a model where both are links."""
    taken = [needed.specifier for needed in requirements() if needed.name == "onnxruntime"]
    assert taken
    for broken, mended in {"1.21.0": "1.21.1", "1.24.1": "1.24.2"}.items():
        assert not any(specifier.contains(broken) for specifier in taken)
        assert any(specifier.contains("1.20.1") and specifier.contains(mended) for specifier in taken)


def test_everything_has_a_minimum():
    assert not [str(needed) for needed in requirements() if ">=" not in str(needed.specifier)]


@pytest.mark.parametrize("package", ["mypy", "ruff"])
def test_what_finds_new_faults_in_old_code_is_held_at_a_minor_version(package: str):
    (needed,) = (needed for needed in requirements() if needed.name == package)
    major, minor = minimum(package, "3.11").release[:2]
    assert needed.specifier.contains(f"{major}.{minor}.99")
    assert not needed.specifier.contains(f"{major}.{minor + 1}.0")


def constraints() -> list[str]:
    """The lines of the file that CI installs with."""
    return [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("# ")]


def test_constraints_name_versions_and_no_place():
    """No index, path, hash or build: whoever has packages from elsewhere, or for another platform, can use them."""
    assert constraints()
    assert not [line for line in constraints() if not re.fullmatch(r"[\w.-]+==\d[\da-z.]*", line)]


def test_constraints_fit_pyproject():
    """Whoever adds a package or raises a minimum writes its line as well, or all of them anew by `make constraints`."""
    held = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in constraints())}
    for needed in requirements():
        if needed.name not in NOT_IN_CI and (
            needed.marker is None or needed.marker.evaluate({"python_version": "3.11"})
        ):
            assert canonicalize_name(needed.name) in held
            assert needed.specifier.contains(held[canonicalize_name(needed.name)]), needed
