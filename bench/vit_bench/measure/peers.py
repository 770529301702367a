"""Who takes part: artifacts, and what users would take instead; how to come by it, or what is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeAlias, get_args

from vit_bench.errors import ContenderError
from vit_bench.measure.peer_files import ABOUT_WEIGHTS, PeerFile, Recipe, Source
from vit_bench.measure.process import Finished, run_module, run_task
from vit_bench.measure.task import PhotoAnswer, Task
from vit_bench.results import OWN, Absent, Contender, Tool
from vit_runtime.artifact import Artifact, codec, read_artifact
from vit_runtime.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A contender that can be run."""

    name: str
    task: Task
    """Its work in one process, to which a measurement adds photos, threads and how long to measure."""
    model: str
    precision: str
    runs_on: tuple[str, ...]
    """Distributions that a user of it installs."""
    environment: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def bytes(self) -> int:
        """Size of its model on disk, with weights in files of their own."""
        file = Path(self.task.file)
        beside = [file.with_suffix(".bin")] if file.suffix == ".xml" else []
        beside += [file.with_name(f"{file.name}.data")]
        return sum(path.stat().st_size for path in (file, *beside) if path.is_file())

    def run(self, task: Task, each: Callable[[PhotoAnswer], None] | None = None) -> Finished:
        """Runs once, in a process of its own; see `process.run_task`."""
        return run_task(self.name, task, self.environment, each=each)

    def facts(self, version: str, detail: str = "") -> Contender:
        """What the results say about it: `version` of its engine, and in `detail` what else decides its speed."""
        return Contender(
            name=self.name,
            tool=self.task.tool,
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
    kinds = [f"{OWN} {artifact.model + ' ' if several else ''}{kind(artifact)}" for artifact in read]
    twice = [path for path, name in zip(paths, kinds, strict=True) if kinds.count(name) > 1]
    names = [f"{name} ({path.stem})" if path in twice else name for path, name in zip(paths, kinds, strict=True)]
    if len(set(names)) < len(names):
        raise UsageError(
            "MODEL.onnx", f"{twice[-1].name} is there twice", "give each file once, under names of their own"
        )
    entrants = [
        Entrant(
            name=name,
            task=Task(tool=OWN, file=str(path), artifact=str(path), provider=provider),
            model=artifact.model,
            precision=artifact.precision,
            runs_on=("vit-edge", "onnxruntime"),
        )
        for name, path, artifact in zip(names, paths, read, strict=True)
    ]
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
