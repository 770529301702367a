"""What timm's `config.json` says of a model: its architecture's name, and how pictures are prepared for it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from vit_export.channels import IMAGENET_MEAN, IMAGENET_STD, Channels, three_numbers
from vit_export.errors import CheckpointError
from vit_runtime.artifact import Interpolation, Preprocessing

SUPPORTED: Final = "supported are plain ViT, DeiT, AugReg, DINO, CLIP, SigLIP, RoPE-ViT and EVA (vit_*, deit*, eva*)"
BY_NAME: Final = "give the folder with config.json, or call the file as timm calls its architecture"
"""What to do about weights that do not tell by themselves what they are of."""
ARCHITECTURE: Final = re.compile(r"(vit|deit3?|eva(02)?)_\w+_patch\d+\w*")
"""Pattern of timm's names of architectures, without the tag of the weights, which follows after a dot."""
_DEFAULT_CROP: Final = 0.875
_LEAVES_ITS_TRACE: Final = {
    "img_size",
    "num_classes",
    "global_pool",
    "dynamic_img_size",
    "in_chans",
    "fc_norm",
    "use_fc_norm",
}
"""Arguments whose values weights or other entries show as well."""
_AGAIN: Final = "fetch it again"


@dataclass(frozen=True, kw_only=True)
class TimmConfig:
    """What `config.json` says beyond the weights; the defaults are for a file that says nothing."""

    architecture: str = ""
    global_pool: str | None = None
    image_size: int | None = None
    licence: str | None = None
    labels: tuple[str, ...] | None = None
    crop: float = _DEFAULT_CROP
    """Share of the resized picture that is kept."""
    squash: bool = False
    """Whether the picture is resized to a square, whatever its proportions."""
    interpolation: Interpolation = "bicubic"
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD

    def preprocessing(self, size: int) -> Preprocessing:
        """Gives the preparation of `timm.data.create_transform` for evaluation, for pictures of one size."""
        edge = math.floor(size / self.crop)
        return Preprocessing(
            resize_shortest_edge=None if self.squash else edge,
            resize_hw=(edge, edge) if self.squash else None,
            crop_hw=(size, size),
            crop_rounding="half_even",
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
        )


def read_config(config: Mapping[str, Any], where: str) -> TimmConfig:
    """Reads what is needed from timm's `config.json`.

    Raises:
        CheckpointError: an architecture, argument or preparation is not supported, or has no valid value.
    """
    architecture = str(config.get("architecture"))
    if not architecture.startswith(("vit_", "deit", "eva")):
        raise CheckpointError(where, f"timm architecture '{architecture}' is not supported", SUPPORTED)
    cfg = config.get("pretrained_cfg", config)  # older files have all entries in one object
    arguments = config.get("model_args", {})
    for name, value in (("pretrained_cfg", cfg), ("model_args", arguments)):
        if not isinstance(value, Mapping):
            raise CheckpointError(where, f"{name} is no object", _AGAIN)
    if unknown := sorted(set(arguments) - _LEAVES_ITS_TRACE):
        raise CheckpointError(where, f"model_args {', '.join(unknown)} are not supported", SUPPORTED)
    mode, interpolation = cfg.get("crop_mode") or "center", cfg.get("interpolation") or "bicubic"
    if mode not in ("center", "squash"):
        raise CheckpointError(where, f"crop_mode {mode} is not supported", "only center and squash are")
    known: tuple[Interpolation, ...] = get_args(Interpolation)
    if interpolation not in known:
        raise CheckpointError(where, f"interpolation {interpolation} is not supported", f"only {', '.join(known)}")
    crop = cfg.get("crop_pct") or _DEFAULT_CROP
    if not isinstance(crop, (int, float)) or not 0 < crop <= 1:
        raise CheckpointError(where, f"crop_pct {crop} is no share", _AGAIN)
    labels = config.get("label_names", cfg.get("label_names"))
    return TimmConfig(
        architecture=architecture,
        global_pool=arguments.get("global_pool") or config.get("global_pool"),
        image_size=_image_size(cfg, arguments, where),
        licence=licence if isinstance(licence := cfg.get("license"), str) else None,
        labels=tuple(map(str, labels)) if isinstance(labels, list) else None,
        crop=crop,
        squash=mode == "squash",
        interpolation=interpolation,
        mean=_channels(cfg, "mean", IMAGENET_MEAN, where),
        std=_channels(cfg, "std", IMAGENET_STD, where),
    )


def _image_size(cfg: Mapping[str, Any], arguments: Mapping[str, Any], where: str) -> int | None:
    """Reads height and width, which are the argument's for a model of fixed size; None where none is stated."""
    size = cfg.get("input_size")
    asked = arguments.get("img_size")
    if asked is not None and (size is None or cfg.get("fixed_input_size", False)):
        size = [3, *(asked if isinstance(asked, list) else [asked, asked])]
    if size is None:
        return None
    if not isinstance(size, list) or len(size) != 3 or not all(isinstance(edge, int) and edge > 0 for edge in size):
        raise CheckpointError(where, f"input_size {size} is no size", _AGAIN)
    channels, height, width = size
    if channels != 3 or height != width:
        raise CheckpointError(where, f"input_size {size} is not supported", "only 3 channels and squares are")
    return int(height)


def _channels(cfg: Mapping[str, Any], key: str, default: Channels, where: str) -> Channels:
    """Reads one value for each channel; a single value is for all three."""
    values = cfg.get(key) or default
    channels = three_numbers(values * 3 if isinstance(values, list) and len(values) == 1 else values)
    if channels is None:
        raise CheckpointError(where, f"{key} {values} is not three numbers", _AGAIN)
    if key == "std" and min(channels) <= 0:
        raise CheckpointError(where, f"{key} {values} is not supported", _AGAIN)
    return channels
