"""A damaged file is told apart from a sound one, whatever its self-test says."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import vit_runtime as vit

Edit = Callable[..., Path]
Run = Callable[..., object]


def test_the_digest_is_that_of_all_bytes_in_front_of_its_entry(tiny_artifact: Path):
    """As `models/README.md` specifies it."""
    content = tiny_artifact.read_bytes()
    last = onnx.load(tiny_artifact).metadata_props[-1]
    entry = onnx.ModelProto(metadata_props=[last]).SerializeToString()
    assert content.endswith(entry)
    assert last.key == "vit_edge_sha256"
    assert last.value == hashlib.sha256(content[: -len(entry)]).hexdigest()


def test_a_sound_file_is_verified(tiny_artifact: Path):
    model = vit.load(tiny_artifact, threads=1, verify=True)
    result = vit.check(model)
    assert result.same_file
    assert result.passed


def test_every_byte_counts(tiny_artifact: Path, tmp_path: Path):
    """Seeded places all over the file; before, the self-test passed for one such file in ten."""
    content = tiny_artifact.read_bytes()
    path = tmp_path / "damaged.onnx"
    random_ = random.Random(11)
    for _ in range(60):
        damaged = bytearray(content)
        place = random_.randrange(len(damaged))
        damaged[place] ^= 1 << random_.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(vit.ArtifactError):
            vit.load(path, threads=1, verify=True)


@pytest.mark.parametrize("more", [b"\x00", b"x" * 100, b"\xf8\x07\x05"], ids=repr)
def test_nothing_may_follow_the_digest(more: bytes, tiny_artifact: Path, tmp_path: Path):
    """The last is a whole protobuf field that nobody knows, which a reader passes over."""
    path = tmp_path / "longer.onnx"
    path.write_bytes(tiny_artifact.read_bytes() + more)
    with pytest.raises(vit.ArtifactError):
        vit.load(path, threads=1, verify=True)


def test_a_file_that_ends_before_its_digest_is_not_loaded(tiny_artifact: Path, tmp_path: Path):
    """Nothing else is missing: a copy that was cut off there, or a file that another program has written again."""
    content = tiny_artifact.read_bytes()
    last = onnx.load(tiny_artifact).metadata_props[-1]
    path = tmp_path / "cut.onnx"
    path.write_bytes(content[: -len(onnx.ModelProto(metadata_props=[last]).SerializeToString())])
    with pytest.raises(vit.ArtifactError, match="incomplete: it ends before its digest; copy or export the file again"):
        vit.load(path, threads=1)


def test_a_label_that_was_changed(labelled_artifact: Path, vit_run: Run, tmp_path: Path):
    """The self-test cannot know: its answers are numbers. `check` told nothing before."""
    path = tmp_path / "changed.onnx"
    path.write_bytes(labelled_artifact.read_bytes().replace(b"Samoyed", b"Bulldog"))
    model = vit.load(path, threads=1)
    result = vit.check(model)
    assert all(answer.difference <= answer.tolerance for answer in result.outputs)
    assert not result.same_file
    assert not result.passed
    done = vit_run("check", path)
    assert done.exit_code == 3
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "file NOT the bytes of the export, by its SHA-256" in rows
    with pytest.raises(vit.ArtifactError, match="damaged or changed since it was exported"):
        vit.load(path, verify=True)


def test_weights_beside_the_model_count_too(large_artifact: Path, tmp_path: Path):
    for file in large_artifact.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = bytearray((tmp_path / f"{large_artifact.name}.data").read_bytes())
    weights[len(weights) // 2] ^= 1
    (tmp_path / f"{large_artifact.name}.data").write_bytes(weights)
    path = tmp_path / large_artifact.name
    with pytest.raises(vit.ArtifactError, match=r"big\.onnx\.data: damaged or changed"):
        vit.load(path, threads=1, verify=True)
    assert not vit.check(vit.load(path, threads=1)).same_file


def test_another_tool_that_writes_the_file_anew_is_noticed(edit_artifact: Edit):
    """A file with a digest that fits is one of ours; saving it with onnx loses nothing but the order of fields."""
    path = edit_artifact()
    assert vit.check(vit.load(path, threads=1)).same_file
    model = onnx.load(path)
    model.graph.doc_string = "optimized"
    onnx.save(model, path)
    assert not vit.check(vit.load(path, threads=1)).same_file
