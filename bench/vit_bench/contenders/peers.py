"""What users would take instead of an artifact: how to come by it, and what is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from vit_bench.contenders.entrants import Entrant
from vit_bench.contenders.names import Tool
from vit_bench.contenders.process import run_module
from vit_bench.contenders.source import ABOUT_WEIGHTS, WEIGHTS, Recipe, Source, note_file
from vit_bench.contenders.task import Task
from vit_bench.errors import ContenderError
from vit_bench.results import Absent
from vit_runtime.artifact import codec, read_artifact


@dataclass(frozen=True, kw_only=True)
class Peer:
    """How to come by a contender that is no artifact."""

    precision: str
    files: tuple[str, ...]
    """The files that have to be made for it, out of `source.FILES`, in this order; the last is its model."""
    modules: tuple[str, ...]
    """What has to be installed to make and to run it."""
    extra: str
    """What `pip install` takes to get them."""
    runs_on: tuple[str, ...]
    """Distributions that a user of it installs."""
    setup: str = ""
    """What was chosen for it, in words, where its own defaults are not what its users take."""
    compiled: bool = False
    """Whether PyTorch's Inductor compiles it."""


_TORCH: Final = Peer(
    precision="fp32",
    files=(WEIGHTS,),
    modules=("torch", "torchvision"),
    extra="vit-edge[bench]",
    runs_on=("torch", "torchvision"),
)
_ONNX: Final = Peer(
    precision="fp32",
    files=(WEIGHTS, "traced.onnx"),
    modules=(*_TORCH.modules, "onnxscript"),
    extra="vit-edge[peers]",
    runs_on=("onnxruntime", "pillow"),
)
_OPENVINO: Final = replace(
    _ONNX,
    files=(*_ONNX.files, "openvino.xml"),
    modules=(*_ONNX.modules, "openvino"),
    runs_on=("openvino", "pillow"),
    setup="OpenVINO's own format with fp16 weights, its default; tuned for latency",
)
_NNCF: Final = replace(
    _OPENVINO,
    precision="int8",
    files=(*_ONNX.files, "nncf.xml"),
    modules=(*_OPENVINO.modules, "nncf"),
    setup="NNCF for transformers, tuned for latency",
)
_MNN: Final = replace(
    _ONNX,
    files=(*_ONNX.files, "traced.mnn"),
    modules=(*_ONNX.modules, "MNN"),
    runs_on=("MNN", "pillow"),
    setup="MNN's wheel (no AVX-512 kernels), its own format, transformers fused",
)
_EXECUTORCH: Final = replace(
    _TORCH,
    files=(*_TORCH.files, "model.pte"),
    modules=(*_TORCH.modules, "executorch", "torchao"),
    extra="vit-edge[executorch]",
    runs_on=("executorch", "torch", "pillow"),
    setup="lowered to XNNPACK",
)
PEERS: Final[dict[Tool, Peer]] = {
    "torch": _TORCH,
    "torch-compile": replace(_TORCH, setup="Inductor with frozen weights", compiled=True),
    "torch-bf16": replace(
        _TORCH, precision="bf16", files=(*_TORCH.files, "weights.bf16.safetensors"), setup="weights in bfloat16"
    ),
    "torch-int8": replace(
        _TORCH,
        precision="int8",
        modules=(*_TORCH.modules, "torchao"),
        extra="vit-edge[peers]",
        runs_on=(*_TORCH.runs_on, "torchao"),
        setup="torchao on all linear layers, activations quantized while it runs; Inductor with frozen weights",
        compiled=True,
    ),
    "onnx": _ONNX,
    "onnx-optimized": replace(
        _ONNX, files=(*_ONNX.files, "optimized.onnx"), setup="onnxruntime.transformers.optimizer for ViT"
    ),
    "onnx-dynamic": replace(
        _ONNX,
        precision="int8",
        files=(*_ONNX.files, "dynamic.onnx"),
        setup="quant_pre_process, then quantize_dynamic with int8 weights by channel",
    ),
    "openvino": _OPENVINO,
    "openvino-bf16": replace(_OPENVINO, precision="bf16"),
    "openvino-int8": _NNCF,
    "openvino-int8-bf16": _NNCF,
    "mnn": _MNN,
    "mnn-int8": replace(
        _MNN,
        precision="int8",
        files=(*_ONNX.files, "int8.mnn"),
        setup=f"{_MNN.setup}, 8-bit weights, activations quantized while it runs",
    ),
    "ncnn": replace(
        _TORCH,
        files=(*_TORCH.files, "model.ncnn.param"),
        modules=(*_TORCH.modules, "ncnn", "pnnx"),
        extra="vit-edge[peers]",
        runs_on=("ncnn", "pillow"),
        setup="converted by pnnx",
    ),
    "executorch": _EXECUTORCH,
    "executorch-int8": replace(
        _EXECUTORCH,
        precision="int8",
        files=(*_TORCH.files, "int8.pte"),
        setup="XNNPACK's int8 weights by channel, activations quantized while it runs",
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
    run_module(name, "vit_bench.contenders.making", json.dumps(codec.encode(recipe)))


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
    failed: dict[str, str] = {}
    for tool in tools:
        peer = PEERS[tool]
        reason = (
            _what_is_missing(peer)
            or _make_files(tool, source, failed, stage, make)
            or (_why_inaccurate(tool, source) if need_own_weights else "")
        )
        if reason:
            absent.append(Absent(name=tool, reason=reason, crashed=False))
            continue
        model = folder / peer.files[-1]
        note = note_file(model).read_text(encoding="utf-8") if note_file(model).exists() else ""
        entrants.append(
            Entrant(
                name=tool,
                task=Task(tool=tool, file=str(model), artifact=source.artifact),
                model=artifact.model,
                precision=peer.precision,
                runs_on=peer.runs_on,
                setup=", ".join(filter(None, (peer.setup, note))),
                environment=_inductor(folder) if peer.compiled else None,
            )
        )
    own_weights = _own_weights(folder) if entrants else None
    return Peers(entrants=tuple(entrants), absent=tuple(absent), own_weights=own_weights)


def _what_is_missing(peer: Peer) -> str:
    missing = [module for module in peer.modules if importlib.util.find_spec(module) is None]
    if missing:
        return f"{', '.join(missing)} not installed: pip install '{peer.extra}'"
    if peer.compiled and not (os.environ.get("CXX") or any(map(shutil.which, ("g++", "clang++", "c++")))):
        return "needs a C++ compiler: install g++"
    return ""


def _make_files(tool: Tool, source: Source, failed: dict[str, str], stage: Callable[[str], None], make: Make) -> str:
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
            if file == WEIGHTS and source.checkpoint is not None:
                raise ContenderError("--checkpoint", error.what) from error
            failed[file] = f"{file} cannot be made: {error.what}"
            return failed[file]
    return ""


def _why_inaccurate(tool: Tool, source: Source) -> str:
    """Why its answers would say nothing about the model."""
    if not _own_weights(Path(source.folder)):
        return "needs the weights that the artifact was exported from: add --checkpoint"
    if "nncf.xml" in PEERS[tool].files and source.calibrate is None:
        return "needs pictures to calibrate on: add --calibrate"
    return ""


def _own_weights(folder: Path) -> bool:
    return bool(json.loads((folder / ABOUT_WEIGHTS).read_text(encoding="utf-8")) == "same")


def _inductor(folder: Path) -> dict[str, str]:
    """Environment in which Inductor freezes weights, keeps what it compiles, and starts no helpers."""
    return {
        **os.environ,
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TORCHINDUCTOR_FREEZING": "1",
    }
