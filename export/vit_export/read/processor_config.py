"""How Hugging Face's image processors prepare a picture, read off `preprocessor_config.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from vit_export.channels import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, Channels, three_numbers
from vit_export.errors import CheckpointError, refused_sizes
from vit_runtime.artifact import Interpolation, Preprocessing
from vit_runtime.errors import option

if TYPE_CHECKING:
    from typing import TypeGuard

FILE: Final = "preprocessor_config.json"
WHOLE: Final = "processor_config.json"
"""What transformers 5 saves for pictures and texts together; the part `image_processor` is as `FILE` would be."""
_RESAMPLING: Final[Mapping[int, Interpolation]] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers for filters; no published Vision Transformer uses 4 (box) or 5 (hamming)."""
_REFUSED: Final = ("do_pad", "do_flip_channel_order", "do_thumbnail", "do_align_long_axis")
_HALF: Final = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class _Processor:
    """What a processor does unless its file says otherwise (transformers, `image_processing_*.py`)."""

    square: bool
    """Whether a single number means height and width, not the shortest edge."""
    size: int | Mapping[str, int]
    crop: int | None
    resample: int
    mean: Channels
    std: Channels


_VIT: Final = _Processor(square=True, size=224, crop=None, resample=2, mean=_HALF, std=_HALF)
_PROCESSORS: Final[Mapping[str, _Processor]] = {
    "ViT": _VIT,
    "DeiT": _Processor(square=True, size=256, crop=224, resample=3, mean=_HALF, std=_HALF),
    "Bit": _Processor(square=False, size=224, crop=224, resample=3, mean=CLIP_MEAN, std=CLIP_STD),
    "DINOv3ViT": _Processor(square=True, size=224, crop=None, resample=2, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "CLIP": _Processor(square=False, size=224, crop=224, resample=3, mean=CLIP_MEAN, std=CLIP_STD),
    "Siglip": _Processor(
        square=False, size={"height": 224, "width": 224}, crop=None, resample=3, mean=_HALF, std=_HALF
    ),
}
_OF_MODEL_TYPE: Final[Mapping[str, str]] = {
    "vit": "ViT",
    "deit": "DeiT",
    "dinov2": "Bit",
    "dinov2_with_registers": "Bit",
    "dinov3_vit": "DINOv3ViT",
    "clip": "CLIP",
    "siglip": "Siglip",
}
_SUFFIXES: Final = ("ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor")


def _remedy() -> str:
    resize, interpolation, mean, std = map(option, ("resize", "interpolation", "mean", "std"))
    return f"set it with {resize}, {interpolation}, {mean} and {std} on a checkpoint without this file"


def preset(model_type: str, image_size: int, where: str) -> Preprocessing:
    """Gives the preparation of a family's published models, for a checkpoint that states none.

    Raises:
        CheckpointError: no picture can be prepared for that size.
    """
    size_hw = (image_size, image_size)
    if model_type in ("dinov2", "dinov2_with_registers"):
        return _preprocessing((round(224 * 8 / 7), None), (224, 224), "bicubic", IMAGENET_MEAN, IMAGENET_STD, where)
    if model_type == "deit":
        edge = round(image_size * 8 / 7)
        return _preprocessing((None, (edge, edge)), size_hw, "bicubic", IMAGENET_MEAN, IMAGENET_STD, where)
    if model_type == "clip":
        return _preprocessing((image_size, None), size_hw, "bicubic", CLIP_MEAN, CLIP_STD, where)
    interpolation: Interpolation = "bicubic" if model_type == "siglip" else "bilinear"
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if model_type == "dinov3_vit" else (_HALF, _HALF)
    return _preprocessing((None, size_hw), size_hw, interpolation, mean, std, where)


def read_processor(document: Mapping[str, Any], model_type: str, where: str) -> Preprocessing:
    """Reads the preparation that an image processor's file describes.

    Raises:
        CheckpointError: the runtime does not know the processor, or one of its steps.
    """
    kind, processor = _processor(document, model_type, where)
    for key in ("do_resize", "do_rescale"):
        if not document.get(key, True):
            raise CheckpointError(where, f"{kind}: {key} is off, which is not supported", _remedy())
    for key in _REFUSED:
        if document.get(key, False):
            raise CheckpointError(where, f"{kind}: {key} is not supported", _remedy())
    factor = document.get("rescale_factor", 1 / 255)
    if not isinstance(factor, (int, float)) or not abs(factor * 255 - 1) <= 1e-6:  # also refuses NaN
        raise CheckpointError(where, f"rescale_factor {factor} is not supported, only 1/255", _remedy())
    resample = document.get("resample", processor.resample)
    if not isinstance(resample, int) or isinstance(resample, bool) or resample not in _RESAMPLING:
        raise CheckpointError(where, f"resample {resample} is not supported, only {sorted(_RESAMPLING)}", _remedy())
    resize = _resize(document.get("size", processor.size), processor, where)
    crops = document.get("do_center_crop", processor.crop is not None)
    crop_hw = _pair(document.get("crop_size", processor.crop), "crop_size", where) if crops else resize[1]
    if crop_hw is None:
        raise CheckpointError(where, f"{kind}: a shortest edge without a centre crop is not supported", _remedy())
    if crop_hw[0] != crop_hw[1]:
        raise CheckpointError(where, f"prepares pictures of {crop_hw[0]}x{crop_hw[1]}, only squares are supported")
    mean, std = (_channels(document, key, getattr(processor, key), where) for key in ("mean", "std"))
    if not document.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return _preprocessing(resize, crop_hw, _RESAMPLING[resample], mean, std, where)


def _processor(document: Mapping[str, Any], model_type: str, where: str) -> tuple[str, _Processor]:
    named = document.get("image_processor_type") or document.get("feature_extractor_type")
    if named is None:
        named = f"{_OF_MODEL_TYPE[model_type]}ImageProcessor"
    for family, processor in _PROCESSORS.items():
        if named in (f"{family}{suffix}" for suffix in _SUFFIXES):
            return named, processor
    raise CheckpointError(
        where, f"image processor {named} is not supported", f"supported are those of {', '.join(_PROCESSORS)}"
    )


def _preprocessing(
    resize: tuple[int | None, tuple[int, int] | None],
    crop_hw: tuple[int, int],
    interpolation: Interpolation,
    mean: Channels,
    std: Channels,
    where: str,
) -> Preprocessing:
    with refused_sizes(where, "fetch it again", "prepares pictures as nothing can: "):
        return Preprocessing(
            resize_shortest_edge=resize[0],
            resize_hw=resize[1],
            crop_hw=crop_hw,
            crop_rounding="down",
            interpolation=interpolation,
            mean=mean,
            std=std,
        )


def _resize(size: object, processor: _Processor, where: str) -> tuple[int | None, tuple[int, int] | None]:
    """Reads a size: the shortest edge, or the exact height and width."""
    if isinstance(size, Mapping):
        if set(size) == {"shortest_edge"} and _is_size(size["shortest_edge"]):
            return size["shortest_edge"], None
        if set(size) == {"height", "width"}:
            return None, _pair(size, "size", where)
        raise CheckpointError(where, f"size {dict(size)} is not supported", "known: height and width, shortest_edge")
    if _is_size(size) and not processor.square:
        return size, None
    return None, _pair(size, "size", where)


def _pair(size: object, key: str, where: str) -> tuple[int, int]:
    """Reads height and width from one number, two numbers, or an object."""
    if isinstance(size, Mapping):
        size = [size.get("height"), size.get("width")]
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    if not (_is_size(height) and _is_size(width)):
        raise CheckpointError(where, f"{key} {size} is no size", "fetch it again")
    return height, width


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _channels(document: Mapping[str, Any], key: str, default: Channels, where: str) -> Channels:
    values = document.get(f"image_{key}", default)
    channels = three_numbers(values if isinstance(values, (list, tuple)) else [values] * 3)
    if channels is None:
        raise CheckpointError(where, f"image_{key} {values} is not three numbers", "fetch it again")
    if key == "std" and min(channels) <= 0:
        raise CheckpointError(where, f"image_std {values} is not above zero", "fetch it again")
    return channels
