"""The demo's model: trained weights that ship with the repository, from checkpoint to right answers."""

from __future__ import annotations

from pathlib import Path

import vit_runtime as vit
from vit_export import ExportRequest, PreprocessingOptions, export

DIGITS = Path(__file__).parents[1] / "models/digits"


def test_the_samples_are_recognised(tmp_path: Path):
    request = ExportRequest(
        model=str(DIGITS / "digits_vit.safetensors"),
        labels=str(DIGITS / "labels.txt"),
        preprocessing=PreprocessingOptions(resize=32),
        output=tmp_path,
    )
    model = vit.load(export(request).path)
    samples = sorted((DIGITS / "samples").glob("*.png"))
    assert len(samples) == 3
    assert [best.label for (best,) in model.classify(samples, top_k=1)] == [sample.stem for sample in samples]


def test_the_checkpoint_stays_small():
    assert (DIGITS / "digits_vit.safetensors").stat().st_size < 1_000_000
