"""Small sound checkpoints in every form that is read, with seeded weights under each library's names."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save

from vit_export.read.torchvision_state import random_state
from vit_runtime.artifact import Architecture

WIDTH, MLP, LAYERS, CLASSES, PATCH, IMAGE = 64, 128, 2, 7, 8, 32
ARCHITECTURE = Architecture(
    image_size=IMAGE, patch_size=PATCH, layers=LAYERS, heads=1, width=WIDTH, mlp_width=MLP, classes=CLASSES,
    layer_norm_eps=1e-6,
)  # fmt: skip

Files = Mapping[str, bytes]
"""A checkpoint by the names of its files."""
State = dict[str, torch.Tensor]


def good_checkpoints() -> dict[str, Files]:
    """One of each form."""
    state = torchvision_state()
    return {
        "safetensors": {"model.safetensors": save(state)},
        "zip": {"model.pth": in_zip(state)},
        "legacy": {"model.pth": in_zip(state, _use_new_zipfile_serialization=False)},
        "deflated": {"model.pth": deflated(in_zip(state))},
        "hugging_face": hugging_face(),
        "timm": timm(),
    }


def torchvision_state() -> State:
    return random_state(ARCHITECTURE, seed=1)


def in_zip(content: object, **options: Any) -> bytes:
    """As `torch.save` writes it; `options` are its own."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def deflated(content: bytes, changed: Mapping[str, bytes] | None = None, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A .pth packed again: compressed, and with other contents for entries whose names end so."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w", kind) as target:
        for name in source.namelist():
            replaced = [new for ending, new in (changed or {}).items() if name.endswith(ending)]
            target.writestr(name, replaced[0] if replaced else source.read(name))
    return buffer.getvalue()


def hugging_face(**changes: Any) -> Files:
    """A folder of transformers'; `changes` are of its `config.json`."""
    config = {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 1,
        "intermediate_size": MLP,
        "image_size": IMAGE,
        "patch_size": PATCH,
        "id2label": {str(index): f"kind {index}" for index in range(CLASSES)},
    }
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": IMAGE, "width": IMAGE}}
    return {
        "model/config.json": json.dumps(config | changes).encode(),
        "model/preprocessor_config.json": json.dumps(processor).encode(),
        "model/model.safetensors": save(hugging_face_state()),
    }


def hugging_face_state() -> State:
    block = {
        "layernorm_before": (WIDTH,),
        "attention.attention.query": (WIDTH, WIDTH),
        "attention.attention.key": (WIDTH, WIDTH),
        "attention.attention.value": (WIDTH, WIDTH),
        "attention.output.dense": (WIDTH, WIDTH),
        "layernorm_after": (WIDTH,),
        "intermediate.dense": (MLP, WIDTH),
        "output.dense": (WIDTH, MLP),
    }
    weights = {
        "vit.embeddings.patch_embeddings.projection": (WIDTH, 3, PATCH, PATCH),
        "vit.layernorm": (WIDTH,),
        "classifier": (CLASSES, WIDTH),
    } | {f"vit.encoder.layer.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in block.items()}
    tokens = {"vit.embeddings.cls_token": 1, "vit.embeddings.position_embeddings": 1 + (IMAGE // PATCH) ** 2}
    return _seeded(weights, tokens)


def timm(**changes: Any) -> Files:
    """A folder of timm's; `changes` are of its `config.json`."""
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": CLASSES,
        "num_features": WIDTH,
        "global_pool": "token",
        "pretrained_cfg": {
            "input_size": [3, IMAGE, IMAGE],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": CLASSES,
        },
    }
    return {
        "model/config.json": json.dumps(config | changes).encode(),
        "model/model.safetensors": save(timm_state()),
    }


def timm_state() -> State:
    block = {
        "norm1": (WIDTH,),
        "attn.qkv": (3 * WIDTH, WIDTH),
        "attn.proj": (WIDTH, WIDTH),
        "norm2": (WIDTH,),
        "mlp.fc1": (MLP, WIDTH),
        "mlp.fc2": (WIDTH, MLP),
    }
    weights = {"patch_embed.proj": (WIDTH, 3, PATCH, PATCH), "norm": (WIDTH,), "head": (CLASSES, WIDTH)}
    weights |= {f"blocks.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in block.items()}
    return _seeded(weights, {"cls_token": 1, "pos_embed": 1 + (IMAGE // PATCH) ** 2})


def _seeded(weights: Mapping[str, tuple[int, ...]], tokens: Mapping[str, int]) -> State:
    """Layers with weight and bias by their names and weight's shapes, and tables of tokens by their lengths."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: (1, length, WIDTH) for name, length in tokens.items()}
    shapes |= {f"{name}.weight": shape for name, shape in weights.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in weights.items()}
    return {name: torch.randn(shape, generator=generator) / 8 for name, shape in shapes.items()}
