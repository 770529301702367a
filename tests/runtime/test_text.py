"""A text tower on the device: what it takes, what it says of itself, and what a hostile file cannot make it do."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.text_models import SENTENCES
from tests.without import WORKSTATION, run_without

import vit_runtime as vit

Edit = Callable[..., Path]


@pytest.fixture(scope="module")
def tower(text_artifact: Path) -> vit.TextModel:
    return vit.load_text(text_artifact, threads=1)


def tokenizer_of(path: Path) -> dict[str, Any]:
    (tensor,) = [tensor for tensor in onnx.load(path).graph.initializer if tensor.name == "tokenizer"]
    found: dict[str, Any] = json.loads(zlib.decompress(tensor.raw_data))
    return found


def refused(path: Path, *texts: str) -> str:
    with pytest.raises(vit.ArtifactError) as caught, vit.load_text(path) as model:
        model.embed(texts or ("a red car",))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 500 + len(str(path))
    return message


def test_one_text_and_several(tower: vit.TextModel):
    one = tower.embed("a red car")
    many = tower.embed(["a red car", "cat"])
    assert (one.shape, one.dtype, many.shape) == ((1, 128), np.float32, (2, 128))
    assert np.allclose(one[0], many[0], atol=1e-6)
    assert tower.embed(text for text in ("x", "y", "z")).shape == (3, 128)
    assert tower.embed([]).shape == (0, 128)
    assert np.allclose(np.linalg.norm(tower.embed(["x", "y"], normalize=True), axis=1), 1, atol=1e-6)
    assert tower.tokens(["x"]).dtype == np.int64


def test_the_file_says_what_it_is(text_artifact: Path, tower: vit.TextModel):
    artifact = vit.read_text_artifact(text_artifact)
    assert artifact == tower.artifact
    assert json.loads(artifact.to_json())["self_test"]["text"].startswith("A photo of a red car")
    assert tower.check().passed
    assert repr(tower) == "TextModel(clip, fp32, CPUExecutionProvider, threads=1)"


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        ([""], "texts: number 1 is empty; describe what to look for"),
        (["x", " \t\n"], "texts: number 2 is empty"),
        ("", "texts: number 1 is empty"),
        ([b"x"], "texts: number 1, b'x', is no text"),
        ([1.5], "texts: number 1, 1.5, is no text"),
        ([None], "texts: number 1, None, is no text"),
        (3, "texts: 3 is no text; give a str, or a list of them"),
        (None, "texts: None is no text"),
        (b"x", "texts: b'x' is no text"),
        (["x" * 70_000], "texts: number 1 has 70,000 characters; give at most 65,536"),
    ],
)
def test_what_is_no_text(texts: Any, part: str, tower: vit.TextModel):
    with pytest.raises(vit.UsageError) as caught:
        tower.embed(texts)
    assert part in str(caught.value)


def test_a_text_that_is_too_long_is_cut_off_and_that_is_said_once(
    text_artifact: Path, caplog: pytest.LogCaptureFixture
):
    tower, long = vit.load_text(text_artifact), "car " * 100
    with caplog.at_level(logging.WARNING, "vit_runtime"):
        tower.embed(["cat", long])
        tower.embed([long])
    (record,) = caplog.records
    assert "1 text of more than 77 tokens, which is what the model reads: the rest is cut off" in record.getMessage()
    assert np.array_equal(tower.tokens(long)[0, :76], tower.tokens("car " * 200)[0, :76])


def test_a_lone_surrogate_is_no_text(tower: vit.TextModel):
    """Python can hold it, and UTF-8 cannot."""
    with pytest.raises(vit.VitEdgeError) as caught:
        tower.embed("\ud800")
    assert "Traceback" not in str(caught.value)


def test_a_closed_model(text_artifact: Path):
    with vit.load_text(text_artifact) as tower:
        pass
    with pytest.raises(vit.UsageError, match="is closed"):
        tower.embed("x")


def test_a_provider_that_is_not_here(text_artifact: Path):
    with pytest.raises(vit.ProviderError):
        vit.load_text(text_artifact, provider="coreml")


def test_tokens_of_another_shape(tower: vit.TextModel):
    for tokens in (np.zeros((1, 5), np.int64), np.zeros((1, 77), np.int32), np.zeros((0, 77), np.int64)):
        with pytest.raises(vit.UsageError, match=r"give int64 of shape \(N, 77\)"):
            tower.run(tokens)


class TestHostileFiles:
    def test_a_picture_model_is_no_text_tower(self, tiny_artifact: Path):
        assert "reads pictures, not texts; export the text tower" in refused(tiny_artifact)

    def test_a_text_tower_is_no_picture_model(self, text_artifact: Path):
        for read in (vit.read_artifact, vit.load):
            with pytest.raises(vit.ArtifactError, match="reads texts, not pictures: it is a text tower; give it to"):
                read(text_artifact)

    def test_a_file_that_is_damaged(self, text_artifact: Path, tmp_path: Path):
        content = bytearray(text_artifact.read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(vit.ArtifactError, match="damaged or changed since it was exported"):
            vit.load_text(tmp_path / "x.onnx", verify=True)
        (tmp_path / "x.onnx").write_bytes(text_artifact.read_bytes()[:-100])
        assert "incomplete" in refused(tmp_path / "x.onnx")

    def test_a_bomb(self, edit_text: Edit):
        """A gigabyte of spaces takes a megabyte compressed; no more of it is unpacked than the document may say."""
        compressor = zlib.compressobj(9)
        packed = b"".join(compressor.compress(b" " * (1 << 20)) for _ in range(1024)) + compressor.flush()
        path = edit_text(packed=packed)
        assert "its tokenizer is not of" in refused(path)
        for most in (1 << 30, (64 << 20) + 1):
            path = edit_text(packed=packed, document=lambda it, most=most: it["tokenizer"].update(json_bytes=most))
            assert "json_bytes is" in refused(path)
            assert "should be from 1 to 67108864" in refused(path)

    @pytest.mark.parametrize(
        ("packed", "part"),
        [
            (b"no zlib", "its tokenizer is damaged"),
            (zlib.compress(b"{}")[:-2], "its tokenizer is not of"),
            (zlib.compress(b"{}") + b"more", "its tokenizer is not of"),
        ],
    )
    def test_a_tokenizer_that_does_not_unpack(self, packed: bytes, part: str, edit_text: Edit):
        assert part in refused(edit_text(packed=packed))
        path = edit_text(packed=packed, document=lambda it: it["tokenizer"].update(json_bytes=2))
        assert "its tokenizer" in refused(path)

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            ({"sha256": "0" * 64}, "has another SHA-256"),
            ({"packed_bytes": 5}, "is not of 5 compressed bytes"),
            ({"packed_bytes": 1 << 40}, "packed_bytes is 1099511627776, should be from 1 to 16777216"),
            ({"packed_bytes": 0}, "packed_bytes is 0"),
            ({"json_bytes": 5}, "is not of 5 bytes"),
            ({"pad_token": -1}, "pad_token is -1"),
            ({"pad_token": 10**6}, "pad_token 1000000 is none of"),
            ({"padding_side": "up"}, "supported: 'left', 'right'"),
            ({"preparation": "run"}, "supported: 'none', 'siglip'"),
            ({"vocab": 3}, "unknown key 'vocab'"),
        ],
    )
    def test_a_document_that_lies_about_its_tokenizer(self, change: dict[str, Any], part: str, edit_text: Edit):
        assert part in refused(edit_text(document=lambda it: it["tokenizer"].update(change)))

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            ({"context": 10**9}, "context is 1000000000, should be at most 4096"),
            ({"vocabulary": 10**9}, "vocabulary is 1000000000, should be at most 1048576"),
            ({"context": 76}, "self_test has 77 tokens, should have 76"),
            ({"projection": 64}, "self_test has 128 values, should have 64"),
            ({"end_token": None}, "pooling end_token and key end_token do not go together"),
            ({"end_token": 10**6}, "end_token 1000000 is none of"),
            ({"heads": 3}, "width 32 is no multiple of heads 3"),
            ({"layer_norm_eps": 2.0}, "layer_norm_eps is 2.0"),
            ({"activation": "relu"}, "supported: 'erf'"),
        ],
    )
    def test_an_architecture_that_cannot_be(self, change: dict[str, Any], part: str, edit_text: Edit):
        assert part in refused(edit_text(document=lambda it: it["architecture"].update(change)))

    @pytest.mark.parametrize("version", [0, 2, None, "1"])
    def test_another_version(self, version: object, edit_text: Edit):
        path = edit_text(document=lambda it: it.update(format_version=version))
        assert "and this vit-edge reads version 1" in refused(path)

    def test_tokens_beyond_the_vocabulary(self, edit_text: Edit, text_artifact: Path):
        document = tokenizer_of(text_artifact)
        for number in (10**6, 2**31):
            document["model"]["vocab"]["car</w>"] = number
            path = edit_text(tokenizer=json.dumps(document).encode())
            assert "its tokenizer gives tokens that are not 77 of" in refused(path, "a red car")

    def test_what_the_tokenizer_says_of_padding_does_not_count(self, edit_text: Edit, text_artifact: Path):
        """A number of tokens that no memory holds."""
        document = tokenizer_of(text_artifact)
        document["padding"] = {
            "strategy": {"Fixed": 10**12},
            "direction": "Left",
            "pad_to_multiple_of": 10**9,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "x",
        }
        document["truncation"] = {"direction": "Left", "max_length": 0, "strategy": "LongestFirst", "stride": 0}
        path = edit_text(tokenizer=json.dumps(document).encode())
        ours = vit.load_text(path).tokens(SENTENCES)
        assert np.array_equal(ours, vit.load_text(text_artifact).tokens(SENTENCES))

    @pytest.mark.parametrize("document", [b"{", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000])
    def test_a_tokenizer_that_is_none(self, document: bytes, edit_text: Edit):
        assert "its tokenizer" in refused(edit_text(tokenizer=document))

    def test_merges_and_numbers_that_cannot_be(self, edit_text: Edit, text_artifact: Path):
        for change in (
            {"merges": [["zz", "yy"]]},
            {"vocab": {"a": -1}},
            {"vocab": {"a": 2**40}},
            {"type": "Lua"},
            {"unk_token": "not there", "vocab": {"q": 0}, "merges": []},
        ):
            document = tokenizer_of(text_artifact)
            document["model"] |= change
            assert "its tokenizer" in refused(edit_text(tokenizer=json.dumps(document).encode()))

    def test_a_post_processor_whose_tokens_are_not_there(self, edit_text: Edit, text_artifact: Path):
        document = tokenizer_of(text_artifact)
        document["post_processor"] = {
            "type": "TemplateProcessing",
            "pair": [],
            "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}] * 200 + [{"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<x>": {"id": "<x>", "ids": [2**32 - 1], "tokens": ["<x>"]}},
        }
        assert "its tokenizer" in refused(edit_text(tokenizer=json.dumps(document).encode()))

    def test_no_tokenizer_and_two(self, edit_text: Edit):
        def rename(graph: onnx.GraphProto) -> None:
            (tensor,) = [tensor for tensor in graph.initializer if tensor.name == "tokenizer"]
            tensor.name = "other"

        def double(graph: onnx.GraphProto) -> None:
            (tensor,) = [tensor for tensor in graph.initializer if tensor.name == "tokenizer"]
            graph.initializer.append(tensor)

        assert "holds no tokenizers" in refused(edit_text(graph=rename))
        assert "holds 2 tokenizers" in refused(edit_text(graph=double))

    def test_a_graph_of_another_shape(self, edit_text: Edit):
        def longer(graph: onnx.GraphProto) -> None:
            graph.input[0].type.tensor_type.shape.dim[1].dim_param = "L"

        assert "its graph takes" in refused(edit_text(graph=longer))

    def test_weights_in_another_file(self, edit_text: Edit):
        def elsewhere(graph: onnx.GraphProto) -> None:
            tensor = graph.initializer[1]
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="../secrets")

        assert "names weights in '../secrets', and its metadata says that there is none" in refused(
            edit_text(graph=elsewhere)
        )


def test_the_device_needs_neither_transformers_nor_torch(text_artifact: Path):
    script = """
import vit_runtime as vit
model = vit.load_text(sys.argv[1])
assert model.embed(["a red car", "cat"]).shape == (2, 128)
assert model.check().passed
print(sorted({"transformers", "huggingface_hub", "torch"} & set(sys.modules)))
"""
    missing = (*WORKSTATION, "transformers", "huggingface_hub", "typer", "rich")
    assert run_without(missing, script, text_artifact).strip() == "[]"


def test_without_tokenizers_the_extra_is_named(text_artifact: Path):
    script = """
import vit_runtime as vit
print(vit.read_text_artifact(sys.argv[1]).model)
try:
    vit.load_text(sys.argv[1])
except vit.MissingDependencyError as error:
    print(error)
"""
    lines = run_without(("tokenizers",), script, text_artifact).splitlines()
    assert lines == ["clip", "tokenizers: not installed; run: pip install 'vit-edge[text]'"]
