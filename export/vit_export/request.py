"""What a user asks an export for; `vit_export.checks` says whether it makes sense."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from vit_export.channels import Channels
from vit_runtime.artifact import Interpolation, Precision, Rollout, Target

RANDOM_WEIGHTS: Final = "random"
IMAGENET_LABELS: Final = "imagenet"

PathLike: TypeAlias = "str | os.PathLike[str]"


@dataclass(frozen=True, kw_only=True)
class PreprocessingOptions:
    """Changes to the preprocessing that the weights bring along; None keeps the weights' own."""

    resize: int | tuple[int, int] | None = None
    """Length of the shortest edge, or exact (height, width)."""
    interpolation: Interpolation | None = None
    mean: Channels | None = None
    std: Channels | None = None


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """Everything that decides what an export writes.

    `model` is a torchvision name, a checkpoint file whose architecture is then read off its shapes, a folder in Hugging
    Face's or timm's format, or a name on the Hugging Face hub.
    """

    model: PathLike
    weights: str | None = None
    """Name of a published weights entry, "random", or None for the model's default entry."""
    seed: int | None = None
    """Seed of random weights; None is 0."""
    checkpoint: PathLike | None = None
    """A state dict of the user's own, for a torchvision name."""
    labels: PathLike | None = None
    """File with one class name a line, or "imagenet" for the 1000 names of ImageNet-1k."""
    classes: PathLike | None = None
    """File with classes that are described in words, a class a line, for a model with a text tower."""
    prompt: Sequence[str] = ()
    """What the text tower reads of each class, one text or several, with `{}` for its label; empty is what the model's
    authors took: "a photo of a {}." for CLIP, "This is a photo of {}." for SigLIP."""
    examples: PathLike | None = None
    """Folder with a folder of photos for each class, to which a head is fitted. `model` may then also be an artifact,
    which gets the head in place of its own."""
    unknown: bool = False
    """Whether pictures of none of the classes of `examples` get a class of their own, "none of these"."""
    image_size: int | None = None
    """Height and width of the model's input; None keeps the weights' own."""
    heads: int | None = None
    """Number of attention heads of a checkpoint that is given by itself; None is width / 64."""
    preprocessing: PreprocessingOptions = field(default_factory=PreprocessingOptions)
    rollout: Rollout | None = None
    """How to roll out attention for a further output, the map; None adds no map."""
    precision: Precision = "fp32"
    target: Target = "cpu"
    calibrate: PathLike | None = None
    """Folder of pictures for static int8; None is dynamic int8."""
    keep_float: int | tuple[str, ...] = 0
    """Linear layers that stay float besides the head: how many of the worst, or names with `*`."""
    max_drop: float | None = None
    """Keep more layers float until at most this many percent of the calibration answers change."""
    against: Literal["library"] | None = None
    """Which model gives the reference answers. "library" is the model of transformers or timm, which reads the files by
    itself. None is a plain model with the weights as this package reads them. A torchvision model is always compared
    with torchvision's own."""
    text: bool = False
    """Whether the model's text tower is exported, by `export_text`, in place of its picture tower."""
    output: PathLike | None = None
    """A file ending in .onnx, or a folder; None is models/<model>.onnx, with precision and target in the name."""
    force: bool = False
    """Whether an existing output may be replaced."""

    @property
    def name(self) -> str:
        """`model` as text: a name, or a path."""
        return os.fspath(self.model)


def replaces_head(request: ExportRequest) -> bool:
    """Whether the model is an artifact already, whose head is to give way to one that is fitted to photos."""
    return request.examples is not None and request.name.endswith(".onnx")
