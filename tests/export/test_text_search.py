"""Pictures by words, from a checkpoint to an answer: both towers exported, and transformers' own cosines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from tests.text_models import clip_config, save_clip_tokenizer, save_gemma_tokenizer, seeded, siglip_config

from vit_export import ExportRequest, export, export_text

from .hf_models import PHOTOS

Run = Callable[..., Any]
WORDS = "two small dogs beside a red car"


def clip(folder: Path) -> tuple[hf.PreTrainedModel, Any]:
    model = seeded(hf.CLIPModel(clip_config(save_clip_tokenizer(folder))))
    return model, hf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def siglip(folder: Path) -> tuple[hf.PreTrainedModel, Any]:
    model = seeded(hf.SiglipModel(siglip_config(save_gemma_tokenizer(folder))))
    return model, hf.SiglipImageProcessorPil(size={"height": 32, "width": 32})


@pytest.mark.parametrize("make", [clip, siglip])
def test_cosines_are_those_of_transformers(make: Callable[[Path], Any], vit_run: Run, tmp_path: Path):
    folder = tmp_path / "model"
    model, processor = make(folder)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    pictures = export(ExportRequest(model=folder, output=tmp_path / "pictures.onnx")).path
    text = export_text(ExportRequest(model=folder, output=tmp_path / "text.onnx")).path
    (tmp_path / "photos").mkdir()
    for number, photo in enumerate(PHOTOS):
        photo.save(tmp_path / "photos" / f"{number}.png")

    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    context = model.config.text_config.max_position_embeddings
    tokens = tokenizer(WORDS, padding="max_length", max_length=context, return_tensors="pt")["input_ids"]
    pixels = processor(images=list(PHOTOS), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        answer = model(input_ids=tokens, pixel_values=pixels)
    wanted = (answer.image_embeds @ answer.text_embeds.T)[:, 0].numpy()

    index = tmp_path / "photos.index"
    assert vit_run("index", pictures, tmp_path / "photos", "-o", index).exit_code == 0
    for where in (tmp_path / "photos", index):
        result = vit_run("search", where, WORDS, "--text", text, "--model", pictures, "--json")
        assert result.exit_code == 0, result.stderr
        found = [json.loads(line) for line in result.stdout.splitlines()]
        places = [int(Path(line["image"]).stem) for line in found]
        assert places == np.argsort(-wanted).tolist()
        assert np.allclose([line["cosine"] for line in found], wanted[places], atol=1e-5)
