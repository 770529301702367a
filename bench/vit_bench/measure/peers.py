"""What users would take instead of an artifact: how to come by it, and what is missing where that fails."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias, get_args

from vit_bench.contenders import Tool
from vit_bench.errors import ContenderError
from vit_bench.measure.entrants import Entrant
from vit_bench.measure.peer_files import ABOUT_WEIGHTS, PeerFile, Recipe, Source
from vit_bench.measure.process import run_module
from vit_bench.measure.task import Task
from vit_bench.results import Absent
from vit_runtime.artifact import codec, read_artifact


@dataclass(frozen=True, kw_only=True)
class Peer:
    """How to come by a contender that is no artifact."""

    precision: str
    files: tuple[PeerFile, ...]
    """What has to be made for it, in this order; the last is its model."""
    modules: tuple[str, ...]
    """What has to be installed to make and to run it."""
    extra: str
    runs_on: tuple[str, ...]
    """Distributions that a user of it installs."""


_WEIGHTS, _TRACED, _DYNAMIC, _NNCF = get_args(PeerFile)
_TORCH: Final = Peer(
    precision="fp32",
    files=(_WEIGHTS,),
    modules=("torch", "torchvision"),
    extra="vit-edge[bench]",
    runs_on=("torch", "torchvision"),
)
_ONNX: Final = Peer(
    precision="fp32",
    files=(_WEIGHTS, _TRACED),
    modules=(*_TORCH.modules, "onnxscript"),
    extra="vit-edge[peers]",
    runs_on=("onnxruntime", "pillow"),
)
_OPENVINO: Final = replace(_ONNX, modules=(*_ONNX.modules, "openvino"), runs_on=("openvino", "pillow"))
PEERS: Final[dict[Tool, Peer]] = {
    "torch": _TORCH,
    "torch-compile": _TORCH,
    "torch-bf16": replace(_TORCH, precision="bf16"),
    "onnx": _ONNX,
    "onnx-dynamic": replace(_ONNX, precision="int8", files=(*_ONNX.files, _DYNAMIC)),
    "openvino": _OPENVINO,
    "openvino-bf16": replace(_OPENVINO, precision="bf16"),
    "openvino-int8": replace(
        _OPENVINO, precision="int8", files=(*_ONNX.files, _NNCF), modules=(*_OPENVINO.modules, "nncf")
    ),
}


@dataclass(frozen=True, kw_only=True)
class Peers:
    """Contenders that can be run, and those that cannot."""

    entrants: tuple[Entrant, ...] = ()
    absent: tuple[Absent, ...] = ()
    own_weights: bool | None = None
    """Whether they have the artifact's own weights; None without any."""


Make: TypeAlias = Callable[[str, Recipe], None]


def make_file(name: str, recipe: Recipe) -> None:
    """Makes a file for the contender of this name, in a process of its own.

    Raises:
        ContenderError: the process failed, or was killed.
    """
    run_module(name, "vit_bench.measure.peer_files", json.dumps(codec.encode(recipe)))


def make_peers(
    tools: Sequence[Tool],
    source: Source,
    stage: Callable[[str], None],
    *,
    need_own_weights: bool = False,
    make: Make = make_file,
) -> Peers:
    """Makes the files of other contenders, each in a process of its own.

    What cannot be made is listed with the reason; the others go on.

    Args:
        tools: who is wanted.
        source: what their files are made from, and where.
        stage: is told what is under way.
        need_own_weights: whether a contender with random weights is of no use.
        make: makes one file.

    Raises:
        ContenderError: the checkpoint that was given does not fit.
    """
    artifact, folder = read_artifact(source.artifact), Path(source.folder)
    entrants: list[Entrant] = []
    absent: list[Absent] = []
    failed: dict[PeerFile, str] = {}
    for tool in tools:
        peer = PEERS[tool]
        reason = (
            _what_is_missing(tool, peer)
            or _make_files(tool, source, failed, stage, make)
            or (_why_inaccurate(tool, source) if need_own_weights else "")
        )
        if reason:
            absent.append(Absent(name=tool, reason=reason, crashed=False))
            continue
        entrants.append(
            Entrant(
                name=tool,
                task=Task(tool=tool, file=str(folder / peer.files[-1]), artifact=source.artifact),
                model=artifact.model,
                precision=peer.precision,
                runs_on=peer.runs_on,
                environment=_kept_compilations(folder) if tool == "torch-compile" else None,
            )
        )
    own_weights = _own_weights(folder) if entrants else None
    return Peers(entrants=tuple(entrants), absent=tuple(absent), own_weights=own_weights)


def _what_is_missing(tool: Tool, peer: Peer) -> str:
    missing = [module for module in peer.modules if importlib.util.find_spec(module) is None]
    if missing:
        return f"{', '.join(missing)} not installed: pip install '{peer.extra}'"
    if tool == "torch-compile" and not (os.environ.get("CXX") or any(map(shutil.which, ("g++", "clang++", "c++")))):
        return "needs a C++ compiler: install g++"
    return ""


def _make_files(
    tool: Tool, source: Source, failed: dict[PeerFile, str], stage: Callable[[str], None], make: Make
) -> str:
    """Makes what is not there yet; the reason where that fails."""
    for file in PEERS[tool].files:
        if file in failed:
            return failed[file]
        if Path(source.folder, file).is_file():
            continue
        stage(f"making {file} for {tool}")
        try:
            make(tool, Recipe(file=file, source=source))
        except ContenderError as error:
            if file == _WEIGHTS and source.checkpoint is not None:
                raise ContenderError("--checkpoint", error.what) from error
            failed[file] = f"{file} cannot be made: {error.what}"
            return failed[file]
    return ""


def _why_inaccurate(tool: Tool, source: Source) -> str:
    """Why its answers would say nothing about the model."""
    if not _own_weights(Path(source.folder)):
        return "needs the weights that the artifact was exported from: add --checkpoint"
    if tool == "openvino-int8" and source.calibrate is None:
        return "needs pictures to calibrate on: add --calibrate"
    return ""


def _own_weights(folder: Path) -> bool:
    return bool(json.loads((folder / ABOUT_WEIGHTS).read_text(encoding="utf-8")) == "same")


def _kept_compilations(folder: Path) -> dict[str, str]:
    """Environment in which torch.compile keeps what it compiles from round to round, and starts no helpers."""
    return {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
