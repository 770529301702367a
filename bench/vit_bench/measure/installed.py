"""What has to be installed for a contender, and what that takes on disk."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_OWN: Final = "vit-edge"
_EQUIVALENTS: Final = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")}
"""Distributions that bring the same module: whichever is installed counts."""


def requirements(names: Sequence[str]) -> list[Distribution]:
    """The installed distributions of these names, and all that they need in turn, each once."""
    from packaging.requirements import Requirement

    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    left = [Requirement(name) for name in names]
    while left:
        requirement = left.pop()
        for name in _EQUIVALENTS.get(requirement.name, (requirement.name,)):
            try:
                package = distribution(name)
            except PackageNotFoundError:
                continue  # not needed on this system, or not installed with it
            asked = (package.metadata["Name"], frozenset(requirement.extras))
            if asked in seen:
                continue
            seen.add(asked)
            found[package.metadata["Name"]] = package
            left.extend(need for text in package.requires or () if _applies(need := Requirement(text), requirement))
    return list(found.values())


def _applies(need: Requirement, parent: Requirement) -> bool:
    """Whether a requirement's condition holds on this system, with the extras that its parent was asked for."""
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in parent.extras or {""})


def installed_bytes(package: Distribution) -> int:
    """What a distribution's files take on disk, by its own record, compiled Python included."""
    if package.metadata["Name"] == _OWN:
        return _own_bytes()
    files = package.files or ()
    paths = (Path(str(package.locate_file(file))) for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file())


def _own_bytes() -> int:
    """vit-edge's three packages, which an editable installation keeps elsewhere than its record says."""
    import vit_bench
    import vit_export
    import vit_runtime

    folders = (Path(str(module.__file__)).parent for module in (vit_bench, vit_export, vit_runtime))
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
