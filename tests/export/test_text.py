"""A text tower against transformers: the same tokens, and embeddings within the tolerance of its precision."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import onnx
import pytest
import transformers as hf
from tests.text_models import (
    SENTENCES,
    byte_letters,
    clip_config,
    expected,
    save_clip_tokenizer,
    save_gemma_tokenizer,
    seeded,
    siglip_config,
)

import vit_runtime as vit
from vit_export import ExportRequest, export_text
from vit_export.verify.tolerances import TOLERANCES, Difference

Made = tuple[Path, hf.PreTrainedModel]


def clip(folder: Path, **config: object) -> Made:
    return folder, seeded(hf.CLIPModel(clip_config(save_clip_tokenizer(folder), **config)))


def clip_of_its_own(folder: Path) -> Made:
    """The text tower alone, with the tokenizer's two older files."""
    config = clip_config(save_clip_tokenizer(folder, whole=False)).text_config
    return folder, seeded(hf.CLIPTextModelWithProjection(config))


def siglip(folder: Path, **config: object) -> Made:
    return folder, seeded(hf.SiglipModel(siglip_config(save_gemma_tokenizer(folder), **config)))


def siglip_of_its_own(folder: Path) -> Made:
    """Its projection has another length than its tokens."""
    config = siglip_config(save_gemma_tokenizer(folder, kind="Siglip2Tokenizer"), projection_size=40).text_config
    return folder, seeded(hf.SiglipTextModel(config))


CASES: dict[str, Callable[[Path], Made]] = {
    "CLIP": clip,
    "CLIP with the old number of the end": lambda folder: clip(folder, end=2),
    "CLIP with exact GELU": lambda folder: clip(folder, hidden_act="gelu"),
    "CLIP's text tower alone": clip_of_its_own,
    "SigLIP with Gemma's tokenizer": siglip,
    "SigLIP's text tower alone": siglip_of_its_own,
}


@pytest.mark.parametrize("against", [None, "library"])
@pytest.mark.parametrize("case", CASES)
def test_fifty_sentences_as_transformers_gives_them(case: str, against: str | None, tmp_path: Path):
    folder, model = CASES[case](tmp_path / "model")
    model.save_pretrained(folder)
    exported = export_text(ExportRequest(model=folder, output=tmp_path / "text.onnx", against=against))
    tokens, embeddings = expected(folder, model)
    ours = vit.load_text(exported.path)
    assert len(SENTENCES) == 50
    assert np.array_equal(ours.tokens(SENTENCES), tokens)
    tolerance = TOLERANCES["fp32"]["embedding"]
    assert isinstance(tolerance, Difference)
    limit = tolerance.limit(embeddings)
    assert np.abs(ours.embed(SENTENCES) - embeddings).max() <= limit  # 2e-6 measured
    assert np.abs(ours.embed(SENTENCES[0]) - embeddings[:1]).max() <= limit
    assert np.abs(ours.embed(SENTENCES, batch_size=3) - embeddings).max() <= limit
    result = exported.artifact.verification
    assert (result.texts, result.same_tokens) == (18, 18)
    assert result.reading == ("vit-edge" if against is None else "library")
    assert ours.check().passed


def test_which_token_is_read_matters(tmp_path: Path):
    """Padding is the end itself in CLIP, and its first place counts; the old rule looks for the largest number."""
    for name, end, pooling in (("new", None, "end_token"), ("old", 2, "largest_token")):
        folder, model = clip(tmp_path / name, end=end)
        model.save_pretrained(folder)
        artifact = export_text(ExportRequest(model=folder, output=tmp_path / f"{name}.onnx")).artifact
        assert artifact.architecture.pooling == pooling
        assert artifact.architecture.causal


@pytest.mark.parametrize("make", [clip, siglip], ids=["CLIP", "SigLIP"])
@pytest.mark.parametrize(
    ("precision", "target", "least", "size"),
    [("int8", "cpu", 0.999, 0.5), ("fp16", "portable", 0.99999, 0.65), ("fp16", "gpu", 0.99999, 0.6)],
)
def test_other_precisions(
    make: Callable[[Path], Made], precision: str, target: str, least: float, size: float, tmp_path: Path
):
    """Tiny files are mostly names and tokenizer: int8 takes 0.26 of float32 for CLIP B/32."""
    folder, model = make(tmp_path / "model")
    model.save_pretrained(folder)
    request = ExportRequest(model=folder, output=tmp_path / "text.onnx", precision=precision, target=target)
    exported = export_text(request)
    weights = sum(
        tensor.ByteSize() for tensor in onnx.load(exported.path).graph.initializer if tensor.name != "tokenizer"
    )
    floats = sum(4 * parameter.numel() for name, parameter in model.named_parameters() if "vision" not in name)
    assert weights < size * floats
    _, embeddings = expected(folder, model)
    ours = vit.load_text(exported.path, provider="cpu")
    found = ours.embed(SENTENCES)
    cosines = (found * embeddings).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(embeddings, axis=1)
    assert cosines.min() >= least
    assert ours.check().passed


def test_no_node_computes_shapes_and_only_standard_operators_are_used(tmp_path: Path):
    folder, model = clip(tmp_path / "model")
    model.save_pretrained(folder)
    graph = onnx.load(export_text(ExportRequest(model=folder, output=tmp_path / "text.onnx")).path)
    onnx.checker.check_model(graph, full_check=True)
    operators = {node.op_type for node in graph.graph.node}
    assert not operators & {"Shape", "If", "Loop", "Range", "ConstantOfShape", "Expand", "Where"}
    assert {node.domain for node in graph.graph.node} == {""}


def test_a_tokenizer_that_reads_fewer_tokens_than_the_model_has_positions(tmp_path: Path):
    """transformers then fills up to the tokenizer's own number, and SigLIP's answer is read at the last token."""
    vocabulary = save_gemma_tokenizer(tmp_path / "model", context=20)
    model = seeded(hf.SiglipModel(siglip_config(vocabulary)))
    model.save_pretrained(tmp_path / "model")
    exported = export_text(ExportRequest(model=tmp_path / "model", output=tmp_path / "text.onnx"))
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path / "model")
    tokens = tokenizer(list(SENTENCES), padding="max_length", truncation=True)["input_ids"]
    assert exported.artifact.architecture.context == 20
    assert np.array_equal(vit.load_text(exported.path).tokens(SENTENCES), tokens)


def test_sentencepiece_as_siglip_has_it(tmp_path: Path):
    """transformers runs it in Python, by a library that the device does without.

    The hundred times repeated letter stays out of the pieces: both libraries find two ways to cut it that are worth the
    same, and each takes another.
    """
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path / "model"
    folder.mkdir()
    words = " ".join(sentence for sentence in SENTENCES if "aaa" not in sentence).lower().split()
    lines = [" ".join(words[start % len(words) :][:8]) for start in range(3000)]
    (tmp_path / "words.txt").write_text("\n".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "words.txt"),
        model_prefix=str(folder / "spiece"),
        vocab_size=900,
        character_coverage=0.995,
        hard_vocab_limit=False,
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "SiglipTokenizer"}), encoding="utf-8")
    pieces = sentencepiece.SentencePieceProcessor(str(folder / "spiece.model")).get_piece_size()
    model = seeded(hf.SiglipModel(siglip_config(pieces)))
    model.save_pretrained(folder)
    exported = export_text(ExportRequest(model=folder, output=tmp_path / "text.onnx", against="library"))
    assert exported.artifact.tokenizer.preparation == "siglip"
    tokens, embeddings = expected(folder, model)
    ours = vit.load_text(exported.path)
    assert np.array_equal(ours.tokens(SENTENCES), tokens)
    assert np.abs(ours.embed(SENTENCES) - embeddings).max() < 1e-5


def test_clips_own_vocabulary(tmp_path: Path):
    """open_clip's wheel ships it."""
    try:
        files = distribution("open_clip_torch").files or ()
    except PackageNotFoundError:
        pytest.skip("no wheel with CLIP's vocabulary here")
    (file,) = [file for file in files if file.name.startswith("bpe_simple_vocab")]
    lines = gzip.decompress(Path(str(file.locate())).read_bytes()).decode().split("\n")
    pairs = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    letters = byte_letters()
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *map("".join, pairs),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    made = hf.CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=pairs)
    made.save_pretrained(tmp_path / "model")
    model = seeded(hf.CLIPModel(clip_config(len(tokens))))
    model.save_pretrained(tmp_path / "model")
    exported = export_text(ExportRequest(model=tmp_path / "model", output=tmp_path / "text.onnx"))
    wanted, _ = expected(tmp_path / "model", model)
    assert np.array_equal(vit.load_text(exported.path).tokens(SENTENCES), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("family", ["clip", "siglip", "siglip2"])
def test_full_size(family: str, precision: str, tmp_path: Path):
    """CLIP B/32's, SigLIP B/16's and, in vocabulary and width, SigLIP 2 B/16's text towers, with seeded weights."""
    folder = tmp_path / "model"
    if family == "clip":
        small = save_clip_tokenizer(folder)
        config = clip_config(49_408, **hf.CLIPTextConfig().to_dict() | {"eos_token_id": small - 1})
        model = seeded(hf.CLIPTextModelWithProjection(config.text_config))
    else:
        save_gemma_tokenizer(folder)
        rows = 32_000 if family == "siglip" else 256_000
        config = hf.SiglipTextConfig(vocab_size=rows, bos_token_id=2, eos_token_id=1, pad_token_id=0)
        model = seeded(hf.SiglipTextModel(config))
    model.save_pretrained(folder)
    exported = export_text(ExportRequest(model=folder, output=tmp_path / "text.onnx", precision=precision))
    tokens, embeddings = expected(folder, model)
    del model
    ours = vit.load_text(exported.path)
    assert np.array_equal(ours.tokens(SENTENCES), tokens)
    found = ours.embed(SENTENCES)
    tolerance = TOLERANCES["fp32"]["embedding"]
    assert isinstance(tolerance, Difference)
    if precision == "fp32":
        assert np.abs(found - embeddings).max() <= tolerance.limit(embeddings)
    cosines = (found * embeddings).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(embeddings, axis=1)
    assert cosines.min() >= (0.99999 if precision == "fp32" else 0.99)
