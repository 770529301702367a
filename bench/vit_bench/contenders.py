"""Who takes part: artifacts, PyTorch, and what users would take instead."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, get_args

from vit_bench.errors import ContenderError
from vit_bench.peers import ABOUT_WEIGHTS, PeerFile, Recipe
from vit_bench.process import run_module
from vit_bench.results import Absent, Contender
from vit_bench.task import Task, Tool
from vit_runtime.artifact import Artifact, codec, read_artifact
from vit_runtime.errors import UsageError

TOOLS: Final[tuple[Tool, ...]] = tuple(tool for tool in get_args(Tool) if tool != "vit-edge")
"""What can be measured against."""
REFERENCE: Final[Tool] = "torch"
_BENCH, _PEERS = "vit-edge[bench]", "vit-edge[peers]"


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
    extra=_BENCH,
    runs_on=("torch", "torchvision"),
)
_ONNX: Final = Peer(
    precision="fp32",
    files=(_WEIGHTS, _TRACED),
    modules=("torch", "torchvision", "onnxscript"),
    extra=_PEERS,
    runs_on=("onnxruntime", "pillow"),
)
_OPENVINO: Final = Peer(
    precision="fp32",
    files=(_WEIGHTS, _TRACED),
    modules=(*_ONNX.modules, "openvino"),
    extra=_PEERS,
    runs_on=("openvino", "pillow"),
)


def _like(peer: Peer, *, precision: str, more: tuple[PeerFile, ...] = (), module: tuple[str, ...] = ()) -> Peer:
    return Peer(
        precision=precision,
        files=(*peer.files, *more),
        modules=(*peer.modules, *module),
        extra=peer.extra,
        runs_on=peer.runs_on,
    )


PEERS: Final[dict[Tool, Peer]] = {
    "torch": _TORCH,
    "torch-compile": _TORCH,
    "torch-bf16": _like(_TORCH, precision="bf16"),
    "onnx": _ONNX,
    "onnx-dynamic": _like(_ONNX, precision="int8", more=(_DYNAMIC,)),
    "openvino": _OPENVINO,
    "openvino-bf16": _like(_OPENVINO, precision="bf16"),
    "openvino-int8": _like(_OPENVINO, precision="int8", more=(_NNCF,), module=("nncf",)),
}


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A contender that can be run."""

    name: str
    tool: Tool
    file: Path
    artifact: Path
    """Whose configuration it has."""
    model: str
    precision: str
    runs_on: tuple[str, ...]
    provider: str = "cpu"
    environment: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def bytes(self) -> int:
        """Size of its model on disk, with weights in files of their own."""
        beside = [self.file.with_suffix(".bin")] if self.file.suffix == ".xml" else []
        beside += [self.file.with_name(f"{self.file.name}.data")]
        return sum(file.stat().st_size for file in (self.file, *beside) if file.is_file())

    def task(
        self,
        photos: Sequence[Path],
        *,
        threads: int,
        batch: int = 1,
        seconds: float = 0.0,
        warm_up_seconds: float = 0.0,
        each_photo: bool = False,
    ) -> Task:
        """Its work in one process."""
        return Task(
            tool=self.tool,
            file=str(self.file),
            artifact=str(self.artifact),
            provider=self.provider,
            threads=threads,
            batch=batch,
            photos=tuple(map(str, photos)),
            seconds=seconds,
            warm_up_seconds=warm_up_seconds,
            each_photo=each_photo,
        )

    def facts(self, version: str, detail: str = "") -> Contender:
        """What the results say about it: `version` of its engine, and in `detail` what else decides its speed."""
        return Contender(
            name=self.name,
            tool=self.tool,
            model=self.model,
            precision=self.precision,
            version=version,
            detail=detail,
        )


def artifacts(paths: Sequence[Path], provider: str) -> tuple[list[Entrant], list[Artifact]]:
    """Contenders for artifacts, and what these say about themselves.

    Raises:
        ArtifactError: a file is none.
        UsageError: two files are of the same kind and name, so that no table could tell them apart.
    """
    read = [read_artifact(path) for path in paths]
    several = len({artifact.model for artifact in read}) > 1
    entrants = [
        Entrant(
            name=f"vit-edge {artifact.model + ' ' if several else ''}{kind(artifact)}",
            tool="vit-edge",
            file=path,
            artifact=path,
            model=artifact.model,
            precision=artifact.precision,
            runs_on=("vit-edge", "onnxruntime"),
            provider=provider,
        )
        for path, artifact in zip(paths, read, strict=True)
    ]
    names = [entrant.name for entrant in entrants]
    if twice := [path for path, name in zip(paths, names, strict=True) if names.count(name) > 1]:
        entrants = [
            entrant if entrant.file not in twice else replace(entrant, name=f"{entrant.name} ({entrant.file.stem})")
            for entrant in entrants
        ]
    if len({entrant.name for entrant in entrants}) < len(entrants):
        raise UsageError(
            "MODEL.onnx", f"{twice[-1].name} is there twice", "give each file once, under names of their own"
        )
    return entrants, read


def model_names(entrants: Sequence[Entrant]) -> str:
    """The model that all of them are of; where there are several, their names with commas between."""
    return ", ".join(dict.fromkeys(entrant.model for entrant in entrants))


def kind(artifact: Artifact) -> str:
    """An artifact's kind among others of its model: "fp32", "int8 static", "int8 static portable, with attention"."""
    scheme = f" {artifact.quantization.scheme}" if artifact.quantization is not None else ""
    kept = " with float layers" if artifact.quantization is not None and artifact.quantization.kept_float else ""
    target = "" if artifact.target == "cpu" else f" {artifact.target}"
    attention = "" if artifact.rollout is None else " with attention"
    return f"{artifact.precision}{scheme}{target}{kept}{attention}"


@dataclass(frozen=True, kw_only=True)
class PeerRequest:
    """Which contenders are wanted beside an artifact, and what they are made from."""

    tools: tuple[Tool, ...]
    artifact: Path
    folder: Path
    """Where their files are made; those that are there already are taken."""
    checkpoint: Path | str | None = None
    calibrate: Path | None = None
    batch: int = 1
    needs_own_weights: bool = False
    """Whether a contender with random weights is of no use."""


@dataclass(frozen=True, kw_only=True)
class Peers:
    """Contenders that can be run, and those that cannot."""

    entrants: tuple[Entrant, ...]
    absent: tuple[Absent, ...]
    own_weights: bool | None
    """Whether they have the artifact's own weights; None without any."""


def make_peers(request: PeerRequest, stage: Callable[[str], None]) -> Peers:
    """Makes the files of other contenders, each in a process of its own; `stage` is told what is under way.

    What cannot be made is listed with the reason; the others go on.

    Raises:
        ContenderError: the checkpoint that was given does not fit.
    """
    artifact = read_artifact(request.artifact)
    entrants: list[Entrant] = []
    absent: list[Absent] = []
    failed: dict[PeerFile, str] = {}
    for tool in request.tools:
        peer = PEERS[tool]
        reason = _what_is_missing(tool, peer)
        if not reason:
            reason = _make_files(tool, peer, request, failed, stage)
        if not reason and request.needs_own_weights and not _own_weights(request.folder):
            reason = "needs the weights that the artifact was exported from: add --checkpoint"
        if not reason and request.needs_own_weights and tool == "openvino-int8" and request.calibrate is None:
            reason = "needs pictures to calibrate on: add --calibrate"
        if reason:
            absent.append(Absent(name=tool, reason=reason, crashed=False))
            continue
        entrants.append(
            Entrant(
                name=tool,
                tool=tool,
                file=request.folder / peer.files[-1],
                artifact=request.artifact,
                model=artifact.model,
                precision=peer.precision,
                runs_on=peer.runs_on,
                environment=_kept_compilations(request.folder) if tool == "torch-compile" else None,
            )
        )
    return Peers(
        entrants=tuple(entrants),
        absent=tuple(absent),
        own_weights=_own_weights(request.folder) if entrants else None,
    )


def _what_is_missing(tool: Tool, peer: Peer) -> str:
    missing = [module for module in peer.modules if importlib.util.find_spec(module) is None]
    if missing:
        return f"{', '.join(missing)} not installed: pip install '{peer.extra}'"
    if tool == "torch-compile" and not (os.environ.get("CXX") or any(map(shutil.which, ("g++", "clang++", "c++")))):
        return "needs a C++ compiler: install g++"
    return ""


def _make_files(
    tool: Tool, peer: Peer, request: PeerRequest, failed: dict[PeerFile, str], stage: Callable[[str], None]
) -> str:
    """Makes what is not there yet; the reason where that fails."""
    for file in peer.files:
        if file in failed:
            return failed[file]
        if (request.folder / file).is_file():
            continue
        stage(f"making {file} for {tool}")
        recipe = Recipe(
            file=file,
            folder=str(request.folder),
            artifact=str(request.artifact),
            checkpoint=None if request.checkpoint is None else str(request.checkpoint),
            calibrate=None if request.calibrate is None else str(request.calibrate),
            batch=request.batch,
        )
        try:
            run_module(tool, "vit_bench.peers", json.dumps(codec.encode(recipe)))
        except ContenderError as error:
            if file == _WEIGHTS and request.checkpoint is not None:
                raise ContenderError("--checkpoint", error.what) from error
            failed[file] = f"{file} cannot be made: {error.what}"
            return failed[file]
    return ""


def _own_weights(folder: Path) -> bool:
    return bool(json.loads((folder / ABOUT_WEIGHTS).read_text(encoding="utf-8")) == "same")


def _kept_compilations(folder: Path) -> dict[str, str]:
    """Environment in which torch.compile keeps what it compiles from round to round, and starts no helpers."""
    return {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
