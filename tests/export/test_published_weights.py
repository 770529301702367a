"""torchvision's published weights: what an entry says, and the way from its file to an artifact, without a network."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import WeightsEnum, get_model, get_model_weights

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.errors import CheckpointError
from vit_export.progress import Silent
from vit_export.read import torchvision as source
from vit_export.read.prepare import read_and_prepare
from vit_export.read.state_dict import sha256
from vit_runtime.artifact import read_artifact
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.selftest import waves

ENTRIES = [(model, entry) for model in source.MODELS for entry in get_model_weights(model)]


@pytest.fixture
def hub(folder, monkeypatch, publish):
    """torch.hub's cache, empty; `hub(entry, state)` puts a state dict where the entry's file belongs.

    Published digests are of the published files. These hold other weights, so their own digest is what is expected.
    """
    monkeypatch.setenv("TORCH_HOME", str(folder / "hub"))

    def put(entry: WeightsEnum, state: dict[str, torch.Tensor], *, expected_digest: bool = True) -> Path:
        path = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        save_sparse(state, path)
        return path.rename(publish(entry, sha256(path))) if expected_digest else path

    return put


def empty_state(name: str, image_size: int) -> dict[str, torch.Tensor]:
    """Right names and shapes, all zeros: nothing has written to their memory, so the system keeps one page for all."""
    with torch.device("meta"):
        model = get_model(name, image_size=image_size)
    return {key: torch.zeros(tensor.shape) for key, tensor in model.state_dict().items()}


class SparseFile(io.FileIO):
    """A file of gigabytes that takes no room: zeros are not written but passed over."""

    def write(self, data: bytes) -> int:
        if len(data) > 1 << 16 and not np.frombuffer(data, np.uint8).any():
            self.seek(len(data), os.SEEK_CUR)
            return len(data)
        return super().write(data)


def save_sparse(state: dict[str, torch.Tensor], path: Path) -> None:
    with SparseFile(path, "w") as file:
        torch.save(state, file)


def with_published_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The published files keep the names of torchvision's first release."""
    return {
        name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): t for name, t in state.items()
    }


@pytest.mark.parametrize("name", source.MODELS)
def test_every_published_entry_is_offered_and_the_default_is_torchvisions(name):
    assert list(source.weights_entries(name)) == [entry.name for entry in get_model_weights(name)]
    assert source.default_entry(name) == get_model_weights(name).DEFAULT.name


@pytest.mark.parametrize(("name", "entry"), ENTRIES, ids=lambda value: getattr(value, "name", value))
def test_an_entry_brings_its_own_transforms_labels_and_sizes(name, entry, hub):
    size = entry.transforms().crop_size[0]
    path = hub(entry, with_published_names(empty_state(name, size)))

    loaded = read_and_prepare(ExportRequest(model=name, weights=entry.name), Silent())

    with torch.device("meta"):
        theirs = get_model(name, image_size=size)
    assert loaded.architecture.tokens == theirs.seq_length
    assert (loaded.architecture.image_size, loaded.architecture.classes) == (size, 1000)
    assert loaded.architecture.heads == theirs.encoder.layers[0].num_heads
    assert loaded.architecture.layer_norm_eps == theirs.encoder.layers[0].ln_1.eps
    assert loaded.labels == tuple(entry.meta["categories"])
    assert loaded.source.weights == entry.name
    assert loaded.source.sha256 == sha256(path)
    assert loaded.source.licence == entry.meta.get("license")
    assert not loaded.source.is_random


@pytest.mark.parametrize("entry", [entry for _, entry in ENTRIES], ids=str)
@pytest.mark.parametrize("size_hw", [(480, 640), (701, 333)], ids=["landscape", "portrait"])
def test_a_photo_is_prepared_as_the_entrys_transforms_do(entry, size_hw, pytorch):
    photo = Image.fromarray(waves(size_hw))
    preprocessing = source.entry_preprocessing(entry)

    ours = load_pixels(photo, preprocessing)

    normalised = pytorch.normalise(ours[None], preprocessing.mean, preprocessing.std)[0]
    assert torch.allclose(normalised, entry.transforms()(photo), atol=1e-6)  # a pixel's step is 0.017


def published_weights_answer_as_torchvision(name, entry, hub, folder, pytorch, random_pixels):
    state = random_weights(name, entry.transforms().crop_size[0])
    hub(entry, with_published_names(state))
    exported = export(ExportRequest(model=name, weights=entry.name, output=folder))

    # torchvision reads the same file from the same cache, in its own way.
    reference = get_model(name, weights=entry).eval()
    pixels = random_pixels(2, exported.artifact.architecture.image_size)
    logits, embedding = pytorch.run(reference, pytorch.normalise(pixels))
    ours = vit.load(exported.path).run(pixels)

    assert logits.std(axis=1).min() > 0.1
    np.testing.assert_allclose(ours[0], logits, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours[1], embedding, rtol=0, atol=1e-4)


def random_weights(name: str, image_size: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    model = get_model(name, image_size=image_size)
    torch.nn.init.normal_(model.heads.head.weight, std=0.05)  # torchvision's zeros would answer zero for everything
    return model.state_dict()


def test_a_file_in_the_cache_becomes_an_artifact_that_answers_as_torchvision(hub, folder, pytorch, random_pixels):
    entry = get_model_weights("vit_b_32").IMAGENET1K_V1
    published_weights_answer_as_torchvision("vit_b_32", entry, hub, folder, pytorch, random_pixels)


@pytest.mark.slow
def test_a_swag_entry_is_exported_at_its_own_384_pixels(hub, folder, pytorch, random_pixels):
    entry = get_model_weights("vit_b_16").IMAGENET1K_SWAG_E2E_V1
    published_weights_answer_as_torchvision("vit_b_16", entry, hub, folder, pytorch, random_pixels)


def test_a_file_with_another_digest_is_refused_as_damaged(hub, folder, files_in):
    entry = get_model_weights("vit_b_32").IMAGENET1K_V1
    path = hub(entry, empty_state("vit_b_32", 224), expected_digest=False)

    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(path))}: damaged: .*; delete it and run again$"):
        export(ExportRequest(model="vit_b_32", output=folder / "out"))
    assert files_in(folder) == [str(path.relative_to(folder))]


@pytest.mark.parametrize("name", source.MODELS)
def test_the_digest_is_the_one_that_torchvision_checks(name):
    for entry in get_model_weights(name):
        assert source._hash_prefix(entry) == torch.hub.HASH_REGEX.search(entry.url).group(1)


def test_a_seed_decides_the_random_weights(tiny_artifact):
    architecture = read_artifact(tiny_artifact).architecture
    first, again, other = (source.random_state(architecture, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


class TestOwnCheckpointForANamedModel:
    """`vit-export vit_b_16 --checkpoint FILE`: heads from the name, classes and picture size from the file."""

    def test_classes_and_image_size_are_the_files(self, folder):
        state = empty_state("vit_b_16", 384)
        state["heads.head.weight"] = torch.zeros(10, 768)
        state["heads.head.bias"] = torch.zeros(10)
        save_sparse(state, folder / "tuned.pth")

        loaded = read_and_prepare(ExportRequest(model="vit_b_16", checkpoint=folder / "tuned.pth"), Silent())

        assert (loaded.architecture.classes, loaded.architecture.image_size) == (10, 384)
        assert loaded.preprocessing.crop_hw == (384, 384)
        assert loaded.labels is None

    def test_heads_are_those_of_the_name(self, folder):
        save_sparse(empty_state("vit_h_14", 224), folder / "huge.pth")
        loaded = read_and_prepare(ExportRequest(model="vit_h_14", checkpoint=folder / "huge.pth"), Silent())
        assert loaded.architecture.heads == 16  # not 1280 / 64 = 20

    def test_weights_of_another_model_are_refused(self, folder):
        save_sparse(empty_state("vit_b_32", 224), folder / "b32.pth")
        with pytest.raises(CheckpointError, match=r"does not fit vit_b_16: .*conv_proj\.weight"):
            read_and_prepare(ExportRequest(model="vit_b_16", checkpoint=folder / "b32.pth"), Silent())
