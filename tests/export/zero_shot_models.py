"""CLIP and SigLIP folders for tests of zero-shot classes, and what transformers itself says of photos and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image
from tests.text_models import clip_config, save_clip_tokenizer, save_gemma_tokenizer, seeded, siglip_config

from vit_runtime.arrays import FloatArray

SCALE = {"clip": 4.6052, "siglip": 4.7652}
"""The logarithms that OpenAI's CLIP and Google's SigLIP have learned, so that logits are as large as theirs."""
BIAS = -12.93
"""SigLIP's."""
PROMPT = {"clip": "a photo of a {}.", "siglip": "This is a photo of {}."}
FULL: Mapping[str, Mapping[str, Any]] = {
    "clip": {
        "vision_config": {"patch_size": 32, "image_size": 224},  # transformers' defaults are CLIP B/32's
        "text_config": {"vocab_size": 49_408},
        "projection_dim": 512,
    },
    "siglip": {"vision_config": {"patch_size": 16, "image_size": 224}, "text_config": {"vocab_size": 32_000}},
}
"""Configurations of B/32 and B/16 but for the numbers of special tokens."""


def make(family: str, folder: Path, *, full: bool = False) -> hf.PreTrainedModel:
    """Saves a seeded model with its tokenizer and its image processor, and gives it."""
    vocabulary = save_clip_tokenizer(folder) if family == "clip" else save_gemma_tokenizer(folder)
    config = clip_config(vocabulary) if family == "clip" else siglip_config(vocabulary)
    if full:
        special = {name: getattr(config.text_config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        sizes = {**FULL[family], "text_config": FULL[family]["text_config"] | special}
        config = type(config)(**sizes)
    model = seeded((hf.CLIPModel if family == "clip" else hf.SiglipModel)(config))
    with torch.no_grad():
        model.logit_scale.fill_(SCALE[family])
        if family == "siglip":
            model.logit_bias.fill_(BIAS)
    model.save_pretrained(folder)
    processor(model).save_pretrained(folder)
    return model


def processor(model: hf.PreTrainedModel) -> Any:
    """The family's own processor of pictures, in Pillow."""
    side = model.config.vision_config.image_size
    square = {"height": side, "width": side}
    if isinstance(model.config, hf.CLIPConfig):
        return hf.CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=square)
    return hf.SiglipImageProcessorPil(size=square)


def tokens(model: hf.PreTrainedModel, folder: Path, texts: Sequence[str]) -> torch.Tensor:
    """As transformers' own tokenizer makes them, with the padding that each model's page asks for."""
    tokenizer = hf.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    length = model.config.text_config.max_position_embeddings
    options = {"truncation": True, "max_length": length, "return_tensors": "pt"}
    return tokenizer(list(texts), padding="max_length", **options)["input_ids"]


def pixels(model: hf.PreTrainedModel, photos: Sequence[Path]) -> torch.Tensor:
    pictures = [Image.open(photo).convert("RGB") for photo in photos]
    return processor(model)(images=pictures, return_tensors="pt")["pixel_values"]


def logits_per_image(
    model: hf.PreTrainedModel, folder: Path, photos: Sequence[Path], texts: Sequence[str]
) -> FloatArray:
    """What the model gives for photos and texts, float32 (photos, texts): all of it transformers' own."""
    with torch.inference_mode():
        answer = model(input_ids=tokens(model, folder, texts), pixel_values=pixels(model, photos))
    return np.asarray(answer.logits_per_image.numpy())
