"""What `open_clip_config.json` states of a picture tower: sizes, kind, and preparation of pictures.

What it leaves out has open_clip's defaults (`open_clip/model.py`, `CLIPVisionCfg`; `open_clip/transform.py`,
`PreprocessCfg`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vit_export.channels import CLIP_MEAN, CLIP_STD, Channels, three_numbers
from vit_export.errors import CheckpointError, refused_sizes
from vit_export.read.config_values import whole_number
from vit_runtime.artifact import Activation, Architecture, Interpolation, Preprocessing

FILE: Final = "open_clip_config.json"
_AGAIN: Final = "fetch it again"
_KNOWN: Final = ("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "ls_init_value", "no_ln_pre")
"""Keys of a picture tower that are read, or that leave their trace in the weights."""
_AS_USUAL: Final[Mapping[str, Any]] = {"pos_embed_type": "learnable", "block_type": "default"}
"""Keys that only this value is supported of."""
_IDLE: Final = ("patch_dropout", "output_tokens", "attn_pooler_queries", "attn_pooler_heads")
"""Keys that no answer depends on."""
_READ_HERE: Final = ("pool_type", "final_ln_after_pool", "act_kwargs", "norm_kwargs", "timm_model_name")
_RESIZES: Final = ("shortest", "squash")
_FILTERS: Final[Mapping[str, Interpolation]] = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}
"""open_clip's filters; at random while training is bicubic afterwards."""


def read_architecture(document: Mapping[str, Any], where: str) -> Architecture:
    """Reads the sizes and the kind of a picture tower.

    Raises:
        CheckpointError: a part is missing, has no valid value, or is not supported.
    """
    model = _object(document, "model_cfg", where)
    vision = _object(model, "vision_cfg", where)
    _refuse_others(vision, where)
    width, patch = whole_number(vision, "width", 768, where), whole_number(vision, "patch_size", 16, where)
    averages = vision.get("pool_type", "tok") == "avg"
    with refused_sizes(where, _AGAIN):
        return Architecture(
            image_size=whole_number(vision, "image_size", 224, where),
            patch_size=patch,
            layers=whole_number(vision, "layers", 12, where),
            heads=max(width // whole_number(vision, "head_width", 64, where), 1),
            width=width,
            mlp_width=int(width * _number(vision, "mlp_ratio", 4.0, where)),
            classes=0,
            layer_norm_eps=_number(vision.get("norm_kwargs") or {}, "eps", 1e-5, where),
            activation=_activation(model, vision, where),
            norm_before_blocks=not vision.get("no_ln_pre", False),
            pooling="patch_mean" if averages else "class_token",
            norm_after_pooling=averages and bool(vision.get("final_ln_after_pool", False)),
            projection=whole_number(model, "embed_dim", 0, where),
        )


def read_preparation(document: Mapping[str, Any], image_size: int, where: str) -> Preprocessing | None:
    """Reads how pictures are prepared; None where the file does not say it.

    Raises:
        CheckpointError: the preparation has no valid value, or is not supported.
    """
    if "preprocess_cfg" not in document:
        return None
    cfg = _object(document, "preprocess_cfg", where)
    mode, interpolation = cfg.get("resize_mode") or "shortest", cfg.get("interpolation") or "bicubic"
    if mode not in _RESIZES:
        raise CheckpointError(where, f"resize_mode {mode} is not supported", f"only {', '.join(_RESIZES)} are")
    if interpolation not in _FILTERS:
        raise CheckpointError(where, f"interpolation {interpolation} is not supported", f"only {', '.join(_FILTERS)}")
    with refused_sizes(where, _AGAIN, "prepares pictures as nothing can: "):
        return preprocessing(
            image_size,
            squash=mode == "squash",
            interpolation=_FILTERS[interpolation],
            mean=_channels(cfg, "mean", CLIP_MEAN, where),
            std=_channels(cfg, "std", CLIP_STD, where),
        )


def preprocessing(
    image_size: int,
    *,
    squash: bool = False,
    interpolation: Interpolation = "bicubic",
    mean: Channels = CLIP_MEAN,
    std: Channels = CLIP_STD,
) -> Preprocessing:
    """Gives CLIP's own preparation, or another that open_clip has; raises `ValueError` where none is possible."""
    size_hw = (image_size, image_size)
    return Preprocessing(
        resize_shortest_edge=None if squash else image_size,
        resize_hw=size_hw if squash else None,
        crop_hw=size_hw,
        crop_rounding="half_even",
        interpolation=interpolation,
        mean=mean,
        std=std,
    )


def _object(document: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    part = document.get(key)
    if not isinstance(part, Mapping):
        raise CheckpointError(where, f"{key} is no object", _AGAIN)
    return part


def _refuse_others(vision: Mapping[str, Any], where: str) -> None:
    """Refuses towers of another kind than a plain Vision Transformer."""
    if name := vision.get("timm_model_name"):
        raise CheckpointError(
            where,
            f"its picture tower is timm's {name}, which is not read from open_clip's files",
            "take the same tower from timm's own repository on the hub",
        )
    if isinstance(vision.get("layers"), list):
        raise CheckpointError(where, "its picture tower is a ResNet", "only Vision Transformers are supported")
    known = (*_KNOWN, *_IDLE, *_READ_HERE)
    for key, value in vision.items():
        usual = key in known or not value or value == _AS_USUAL.get(key) or key.startswith("timm_")
        if not usual:
            raise CheckpointError(where, f"vision_cfg.{key} {value} is not supported", "only plain towers are")
    if vision.get("pool_type", "tok") not in ("tok", "avg"):
        raise CheckpointError(where, f"pool_type {vision['pool_type']} is not supported", "only tok and avg are")
    norm = vision.get("norm_kwargs") or {}
    if not isinstance(norm, Mapping) or set(norm) - {"eps"}:
        raise CheckpointError(where, f"norm_kwargs {norm} is not supported", "only eps is")


def _activation(model: Mapping[str, Any], vision: Mapping[str, Any], where: str) -> Activation:
    options = vision.get("act_kwargs") or {}
    if model.get("quick_gelu", False) and not options:
        return "quick"
    if options and options != {"approximate": "tanh"}:
        raise CheckpointError(where, f"act_kwargs {options} is not supported", "only approximate: tanh is")
    return "tanh" if options else "erf"


def _number(config: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = config.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1 << 10:  # NaN too
        raise CheckpointError(where, f"{key} {value} is not supported", _AGAIN)
    return value


def _channels(cfg: Mapping[str, Any], key: str, default: Channels, where: str) -> Channels:
    values = cfg.get(key) or default
    channels = three_numbers(values if isinstance(values, (list, tuple)) else [values] * 3)
    if channels is None:
        raise CheckpointError(where, f"{key} {values} is not three numbers", _AGAIN)
    return channels
