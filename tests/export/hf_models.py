"""Hugging Face's models for tests: seeded ones that transformers makes and answers with, and one written by hand."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
LABELS = {index: f"kind {index}" for index in range(12)}
"""More than ten: in text "10" comes before "2"."""
HEADLESS = {"ViTModel", "DeiTModel", "Dinov2Model", "Dinov2WithRegistersModel", "DINOv3ViTModel"}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # What transformers calls it, how its configuration differs from `SMALL`, and what of it is particular to us.
    "ViT": ("ViTForImageClassification", {}, {}),
    "ViT without head": ("ViTModel", {}, {"classes": 0}),  # DINO v1 too
    "ViT without bias": ("ViTForImageClassification", {"qkv_bias": False}, {}),
    "ViT with tanh": ("ViTForImageClassification", {"hidden_act": "gelu_new"}, {"activation": "tanh"}),
    "DeiT with teacher": (
        "DeiTForImageClassificationWithTeacher",
        {},
        {"distillation_token": True, "pooling": "class_and_distillation_token"},
    ),
    "DeiT": ("DeiTForImageClassification", {"layer_norm_eps": 1e-5}, {"distillation_token": True}),
    "DeiT without head": ("DeiTModel", {}, {"distillation_token": True, "classes": 0}),
    "DINOv2 without head": ("Dinov2Model", {}, {"classes": 0}),
    "DINOv2": (
        "Dinov2ForImageClassification",
        {"mlp_ratio": 3},
        {"pooling": "class_token_and_patch_mean", "mlp_width": 192},
    ),
    "DINOv2 with registers, without head": ("Dinov2WithRegistersModel", {}, {"registers": 4, "classes": 0}),
    "DINOv2 with registers": (
        "Dinov2WithRegistersForImageClassification",
        {"num_register_tokens": 3},
        {"registers": 3, "pooling": "class_token_and_patch_mean"},
    ),
    "DINOv2 giant": (
        "Dinov2ForImageClassification",
        {"use_swiglu_ffn": True},
        {"pooling": "class_token_and_patch_mean", "mlp_width": 176, "gated_mlp": True, "activation": "silu"},
    ),
    "DINOv3": (
        "DINOv3ViTModel",
        {"num_register_tokens": 4},
        {"registers": 4, "classes": 0, "rotary": "shared"},
    ),
    "DINOv3 with gates": (
        "DINOv3ViTModel",
        {"num_register_tokens": 4, "use_gated_mlp": True, "hidden_act": "silu", "key_bias": True, "mlp_bias": False},
        {"registers": 4, "classes": 0, "rotary": "shared", "gated_mlp": True, "activation": "silu"},
    ),
}


def refuse_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets whatever looks a folder's name up on the hub fail the test."""

    def refuse(*_: object) -> None:
        raise AssertionError("a test asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def photo(size_hw: tuple[int, int]) -> Image.Image:
    """Every pixel unlike its neighbours: a filter or a position that is off shows in every byte."""
    return Image.fromarray(np.random.default_rng(seed=size_hw).integers(0, 256, (*size_hw, 3), dtype=np.uint8))


PHOTOS = tuple(map(photo, ((61, 87), (140, 99), (33, 250))))


def make(case: str, *, seed: int = 1, **sizes: Any) -> hf.PreTrainedModel:
    """A model of transformers in which every parameter counts: none is left at the 0 or 1 that it starts with."""
    name, extras, _ = CASES[case]
    model_class = getattr(hf, name)
    config = SMALL | {"id2label": LABELS} | extras | sizes
    if not name.startswith("Dinov2"):
        config = {"intermediate_size": 128} | config
    return randomised(model_class(model_class.config_class(**config)), seed)


def randomised(model: hf.PreTrainedModel, seed: int) -> hf.PreTrainedModel:
    """Gives every parameter a value of its own, of a size that keeps answers as large as inputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("lambda1"):
                parameter.uniform_(0.3, 1.2, generator=generator)
            elif parameter.ndim in (2, 4):  # of linear layers and of the patches: answers keep the size of inputs
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                middle = 1 if "norm" in parameter_name and parameter_name.endswith("weight") else 0
                parameter.normal_(middle, 0.1, generator=generator)
    return model.eval()


def processor_for(model: hf.PreTrainedModel, side: int | None = None) -> Any:
    """The family's own processor in Pillow, for pictures of `side`, by default the checkpoint's own."""
    side = side or model.config.image_size
    square, larger = {"height": side, "width": side}, side * 5 // 4
    if isinstance(model.config, hf.ViTConfig):
        return hf.ViTImageProcessorPil(size=square)
    if isinstance(model.config, hf.DeiTConfig):
        return hf.DeiTImageProcessorPil(size={"height": larger, "width": larger}, crop_size=square)
    if isinstance(model.config, hf.DINOv3ViTConfig):
        return hf.DINOv3ViTImageProcessor(size=square)
    return hf.BitImageProcessorPil(size={"shortest_edge": larger}, crop_size=square)


def save(model: hf.PreTrainedModel, folder: Path, side: int | None = None, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    processor_for(model, side).save_pretrained(folder)
    return folder


def pixels_of(model: hf.PreTrainedModel, photos: Sequence[Image.Image], side: int | None = None) -> torch.Tensor:
    """Photos as the model's processor prepares them in Pillow: (N, 3, H, W).

    DINOv3's has no such form: it resizes floats. Photos are then resized with Pillow before.
    """
    processor = processor_for(model, side)
    if isinstance(model.config, hf.DINOv3ViTConfig):
        edge = processor.size["height"]
        photos = [photo.resize((edge, edge), Image.Resampling.BILINEAR) for photo in photos]
    return processor(images=list(photos), return_tensors="pt")["pixel_values"]


def answers(
    model: hf.PreTrainedModel, photos: Sequence[Image.Image], side: int | None = None, **options: Any
) -> dict[str, np.ndarray]:
    """What transformers says of photos, its own preparation included."""
    pixels = pixels_of(model, photos, side)
    with torch.inference_mode():
        # DINOv3's `base_model` is a part of the model, without the LayerNorm.
        headless = model if isinstance(model, hf.DINOv3ViTModel) else model.base_model
        found = {"embedding": headless(pixels, **options).last_hidden_state[:, 0].numpy()}
        if type(model).__name__ not in HEADLESS:
            found["logits"] = model(pixels, **options).logits.numpy()
    return found


CONFIG: dict[str, Any] = (
    {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "id2label": {str(index): f"kind {index}" for index in range(7)},
    }
    | SMALL
    | {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
)
PROCESSOR: dict[str, Any] = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}


def handmade_weights() -> dict[str, torch.Tensor]:
    """Seeded weights for `CONFIG` under the published names, written out from transformers' `modeling_vit.py`."""
    block = {
        "layernorm_before.weight": (32,),
        "attention.attention.query.weight": (32, 32),
        "attention.attention.key.weight": (32, 32),
        "attention.attention.value.weight": (32, 32),
        "attention.output.dense.weight": (32, 32),
        "layernorm_after.weight": (32,),
        "intermediate.dense.weight": (64, 32),
        "output.dense.weight": (32, 64),
    }
    shapes = {
        "vit.embeddings.cls_token": (1, 1, 32),
        "vit.embeddings.position_embeddings": (1, 17, 32),
        "vit.embeddings.patch_embeddings.projection.weight": (32, 3, 8, 8),
        "vit.layernorm.weight": (32,),
        "classifier.weight": (7, 32),
    } | {f"vit.encoder.layer.{layer}.{name}": shape for layer in range(2) for name, shape in block.items()}
    shapes |= {name.replace(".weight", ".bias"): shape[:1] for name, shape in shapes.items() if ".weight" in name}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) / 8 for name, shape in shapes.items()}
