"""PyTorch: torchvision's own model where it can be that, its transforms, softmax and top five.

Four contenders: eager in float32; the same compiled, with frozen weights; eager in bfloat16; int8 by torchao, compiled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file

from vit_bench.contenders.engine import TOP, Engine, Run, Scores, labels
from vit_bench.contenders.peers import PEERS
from vit_bench.contenders.source import ABOUT_WEIGHTS, WEIGHTS, Source
from vit_bench.contenders.task import Task
from vit_bench.contenders.torch_model import is_torchvisions, load_model, prepare
from vit_bench.errors import ContenderError
from vit_export.progress import Silent
from vit_export.read.prepare import read_and_prepare
from vit_export.read.state_dict import StateDict
from vit_export.read.torchvision import MODELS
from vit_export.read.torchvision_state import random_state
from vit_export.request import RANDOM_WEIGHTS, ExportRequest
from vit_runtime.artifact import Artifact, read_artifact
from vit_runtime.errors import VitEdgeError
from vit_runtime.pictures.reading import read_rgb


def load(task: Task) -> Engine:
    """Loads one of the four."""
    return TorchEngine(task)


class TorchEngine:
    """A model in PyTorch."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        self.artifact = read_artifact(task.artifact)
        self.dtype = torch.bfloat16 if task.tool == "torch-bf16" else torch.float32
        model, self.detail = load_model(self.artifact.architecture, Path(task.file), self.dtype)
        if task.tool == "torch-int8":
            model = _int8(model)
        self._model: Callable[[torch.Tensor], torch.Tensor] = (
            torch.compile(model) if PEERS[task.tool].compiled else model
        )
        self.version = f"torch {torch.__version__}"

    def prepared(self, photo: Path, batch: int) -> Run:
        """See `Engine`."""
        pixels = self._pixels(photo).repeat(batch, 1, 1, 1)
        return lambda: cast("Scores", self.scores(pixels).numpy())

    def answer(self, photo: Path) -> Sequence[str]:
        """See `Engine`."""
        scores = self.scores(self._pixels(photo))
        _, indices = scores.softmax(-1).topk(min(TOP, scores.shape[-1]))
        return labels(self.artifact, indices[0].tolist())

    def _pixels(self, photo: Path) -> torch.Tensor:
        """float32 or bfloat16 (1, 3, H, W)."""
        return prepare(read_rgb(photo), self.artifact.preprocessing)[None].to(self.dtype)

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 (N, classes) for pixels (N, 3, H, W) in the model's own dtype."""
        with torch.inference_mode():
            return self._model(pixels).float()


def _int8(model: torch.nn.Module) -> torch.nn.Module:
    """Quantizes as torchao's documentation says for dynamic int8 on the CPU: every `nn.Linear`, to be compiled.

    torchao passes over `nn.MultiheadAttention`, a third of the work. So its weights go into `nn.Linear` first, where
    timm's models have them.
    """
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    for name, module in tuple(model.named_modules()):
        if isinstance(module, torch.nn.MultiheadAttention):
            model.set_submodule(name, _LinearAttention(module))
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


class _LinearAttention(torch.nn.Module):
    """Self-attention of tokens (N, S, D) with the weights of PyTorch's own, in `nn.Linear`."""

    def __init__(self, attention: torch.nn.MultiheadAttention) -> None:
        super().__init__()
        width = attention.embed_dim
        self._heads = attention.num_heads
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.qkv.weight, self.qkv.bias = attention.in_proj_weight, attention.in_proj_bias
        self.out.weight, self.out.bias = attention.out_proj.weight, attention.out_proj.bias

    def forward(self, tokens: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, None]:
        batch, length, width = tokens.shape
        packed = self.qkv(tokens).reshape(batch, length, 3, self._heads, width // self._heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width)), None


def make(file: str, source: Source, artifact: Artifact, target: Path) -> None:
    """Makes weights or a traced graph."""
    makers = {WEIGHTS: _make_weights, "weights.bf16.safetensors": _halve_weights, "traced.onnx": _trace}
    makers[file](source, artifact, target)


def _make_weights(source: Source, artifact: Artifact, target: Path) -> None:
    state = _own_weights(source.checkpoint, artifact)
    same = state is not None
    if state is None and not is_torchvisions(artifact.architecture):
        raise ContenderError(artifact.model, "is not torchvision's, so its weights are needed", "add --checkpoint")
    if state is None:
        state = random_state(artifact.architecture, seed=0)
    save_file({name: tensor.float().contiguous() for name, tensor in state.items()}, target)
    target.with_name(ABOUT_WEIGHTS).write_text(json.dumps("same" if same else "random"), encoding="utf-8")


def _own_weights(checkpoint: str | None, artifact: Artifact) -> StateDict | None:
    """The weights that an artifact was exported from; None where they are not at hand."""
    arch, source = artifact.architecture, artifact.source
    if checkpoint is not None:
        heads = arch.heads if Path(checkpoint).is_file() else None
        request = ExportRequest(model=checkpoint, heads=heads, image_size=arch.image_size)
    elif artifact.model in MODELS:
        weights = RANDOM_WEIGHTS if source.is_random else source.weights
        request = ExportRequest(model=artifact.model, weights=weights, seed=source.seed, image_size=arch.image_size)
    else:
        return None
    try:
        loaded = read_and_prepare(request, Silent())
    except VitEdgeError:
        if checkpoint is not None:
            raise
        return None
    if (loaded.source.sha256, loaded.architecture) != (source.sha256, arch):
        if checkpoint is not None:
            raise ContenderError(checkpoint, f"is not what {artifact.model} was exported from", "give that one")
        return None
    return loaded.state


def _halve_weights(source: Source, artifact: Artifact, target: Path) -> None:  # noqa: ARG001 - one kind of function
    state = load_file(Path(source.folder, WEIGHTS))
    save_file({name: tensor.bfloat16() for name, tensor in state.items()}, target)


def _trace(source: Source, artifact: Artifact, target: Path) -> None:
    model, _ = load_model(artifact.architecture, Path(source.folder, WEIGHTS))
    size = artifact.architecture.image_size
    example = torch.zeros(source.batch, 3, size, size)
    torch.onnx.export(model, (example,), target, dynamo=True, external_data=False, verbose=False)
