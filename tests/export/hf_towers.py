"""CLIP and SigLIP of Hugging Face's for tests: seeded ones that transformers makes and answers with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image

from .hf_models import LABELS, SMALL, randomised

VISION = SMALL | {"intermediate_size": 128}
TEXT = {
    "hidden_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
    "bos_token_id": 98,
    "eos_token_id": 99,
}
JOINT = 40
"""Length of CLIP's embedding."""
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # What transformers calls it, how the tower's configuration differs from `VISION`, and what of it is particular.
    "CLIP with texts": ("CLIPModel", {}, {"projection": JOINT}),
    "CLIP with projection": ("CLIPVisionModelWithProjection", {"projection_dim": JOINT}, {"projection": JOINT}),
    "CLIP": ("CLIPVisionModel", {}, {}),
    "CLIP of others": ("CLIPVisionModel", {"hidden_act": "gelu", "layer_norm_eps": 1e-4}, {"activation": "erf"}),
    "SigLIP with texts": ("SiglipModel", {}, {}),
    "SigLIP": ("SiglipVisionModel", {}, {}),
    "SigLIP, exact GELU": ("SiglipVisionModel", {"hidden_act": "gelu"}, {"activation": "erf"}),
    "SigLIP without pooling head": ("SiglipVisionModel", {"vision_use_head": False}, {"pooling": "patch_mean"}),
    "SigLIP that classifies": ("SiglipForImageClassification", {}, {"pooling": "patch_mean", "classes": 12}),
}
BOTH = {"CLIPModel": hf.CLIPConfig, "SiglipModel": hf.SiglipConfig, "SiglipForImageClassification": hf.SiglipConfig}
"""Models whose configuration describes both towers."""


def make(case: str, *, seed: int = 1, **sizes: Any) -> hf.PreTrainedModel:
    """A model of transformers in which every parameter counts: none is left at the 0 or 1 that it starts with."""
    name, extras, _ = CASES[case]
    vision = VISION | extras | sizes
    if name in BOTH:
        joint = {"projection_dim": JOINT} if name == "CLIPModel" else {}
        labels = {"id2label": LABELS} if name == "SiglipForImageClassification" else {}
        config = BOTH[name](vision_config=vision, text_config=TEXT, **joint, **labels)
    else:
        config = getattr(hf, name).config_class(**vision)
    return randomised(getattr(hf, name)(config), seed)


def vision_config(model: hf.PreTrainedModel) -> Any:
    return getattr(model.config, "vision_config", model.config)


def is_clip(model: hf.PreTrainedModel) -> bool:
    return type(model).__name__.startswith("CLIP")


def processor_for(model: hf.PreTrainedModel, side: int | None = None) -> Any:
    """The family's own processor in Pillow, for pictures of `side`, by default the checkpoint's own."""
    side = side or vision_config(model).image_size
    if is_clip(model):
        return hf.CLIPImageProcessorPil(size={"shortest_edge": side * 5 // 4}, crop_size=side)
    return hf.SiglipImageProcessorPil(size={"height": side, "width": side})


def save(model: hf.PreTrainedModel, folder: Path, side: int | None = None, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    processor_for(model, side).save_pretrained(folder)
    return folder


def ask(model: hf.PreTrainedModel, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """What transformers says of normalised pictures (N, 3, H, W) of any size."""
    any_size = {"interpolate_pos_encoding": True}
    if hasattr(model, "get_image_features"):
        return {"embedding": model.get_image_features(pixels, **any_size).pooler_output}
    found = model(pixels, **any_size)
    if hasattr(found, "image_embeds"):
        return {"embedding": found.image_embeds}
    if hasattr(found, "logits"):
        mean = model.vision_model(pixels, **any_size).last_hidden_state.mean(dim=1)
        return {"embedding": mean, "logits": found.logits}
    pooled = found.pooler_output
    return {"embedding": found.last_hidden_state.mean(dim=1) if pooled is None else pooled}


def answers(model: hf.PreTrainedModel, photos: Sequence[Image.Image], side: int | None = None) -> dict[str, np.ndarray]:
    """What transformers says of photos, its own preparation included."""
    pixels = processor_for(model, side)(images=list(photos), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        return {output: values.numpy() for output, values in ask(model, pixels).items()}
