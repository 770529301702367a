"""Fixtures of the device side's tests: the tiny model loaded, random pictures, and files with something wrong."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.played_plug_in import SITECUSTOMIZE, VARIABLE, PlugIn, library_at, play
from tests.tiny import TINY
from torchvision.models import VisionTransformer
from torchvision.transforms import Compose, Normalize, ToTensor

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import METADATA_KEY, TEXT_KEY, Rollout
from vit_runtime.cache.folder import CACHE_VARIABLE
from vit_runtime.devices.providers import EXECUTION_PROVIDERS

Document = dict[str, Any]
Encode = Callable[..., bytes]
Edit = Callable[..., Path]
Package = Callable[[str], None]
AskPyTorch = Callable[[UInt8Array], tuple[FloatArray, FloatArray]]

GOLDEN = Path(__file__).parent / "golden"

LABELS = ("Samoyed", "tabby, cat", "café", "犬", "5", "six", "seven")


@pytest.fixture(scope="session")
def tiny(tiny_artifact: Path) -> vit.ViT:
    """The tiny model, without labels."""
    return vit.load(tiny_artifact, threads=1)


@pytest.fixture(scope="session")
def ask_pytorch(tiny: vit.ViT, tiny_checkpoint: Path) -> AskPyTorch:
    """Logits and embeddings by torchvision's own model, of prepared pixels: uint8 (N, 32, 32, 3)."""
    model = VisionTransformer(
        image_size=TINY.image_size,
        patch_size=TINY.patch_size,
        num_layers=TINY.layers,
        num_heads=TINY.heads,
        hidden_dim=TINY.width,
        mlp_dim=TINY.mlp_width,
        num_classes=TINY.classes,
    ).eval()
    model.load_state_dict(load_file(tiny_checkpoint))
    tokens: list[torch.Tensor] = []
    model.encoder.register_forward_hook(lambda _module, _inputs, output: tokens.append(output))
    prepare = Compose([ToTensor(), Normalize(tiny.artifact.preprocessing.mean, tiny.artifact.preprocessing.std)])

    def ask(pixels: UInt8Array) -> tuple[FloatArray, FloatArray]:
        pictures = [prepare(picture) for picture in pixels]
        with torch.inference_mode():
            logits = torch.cat([model(picture[None]) for picture in pictures])
        embeddings = torch.cat([tokens.pop(0)[:, 0] for _ in pictures])
        return logits.numpy(), embeddings.numpy()

    return ask


@pytest.fixture(scope="session")
def labelled_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a name for each class, also names that are not ASCII."""
    folder = tmp_path_factory.mktemp("labelled")
    names = folder / "labels.txt"
    names.write_text("\n".join(LABELS), encoding="utf-8")
    return export(ExportRequest(model=str(tiny_checkpoint), labels=str(names), output=folder / "tiny.onnx")).path


@pytest.fixture(scope="session")
def attention_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with attention maps."""
    output = tmp_path_factory.mktemp("attention") / "tiny.onnx"
    rollout = Rollout(head_fusion="mean", discard_ratio=0.0)
    return export(ExportRequest(model=str(tiny_checkpoint), rollout=rollout, output=output)).path


@pytest.fixture(scope="session")
def random_pictures() -> Callable[[int], list[UInt8Array]]:
    """`random_pictures(3)` makes three seeded pictures of odd and different sizes."""

    def make(count: int) -> list[UInt8Array]:
        rng = np.random.default_rng(seed=count)
        sizes = rng.integers(20, 90, size=(count, 2))
        return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]

    return make


@pytest.fixture(scope="session")
def picture() -> UInt8Array:
    """A picture of blocks, 48x64, whose corners differ: no turn or mirroring of it goes unnoticed."""
    blocks = np.random.default_rng(seed=7).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture(scope="session")
def encode() -> Encode:
    """`encode(array_or_image, "PNG")` is the bytes of a file; further options go to Pillow's `save`."""

    def run(picture: UInt8Array | Image.Image, file_format: str, **options: object) -> bytes:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        file = BytesIO()
        image.save(file, file_format, **options)
        return file.getvalue()

    return run


@pytest.fixture
def edit_artifact(tiny_artifact: Path, tmp_path: Path, seal: Callable[[bytes], bytes]) -> Edit:
    """Writes a changed copy of the tiny artifact with a digest that fits; the functions change what they are given."""

    def run(
        *,
        document: Callable[[dict[str, Any]], object] | None = None,
        graph: Callable[[onnx.GraphProto], object] | None = None,
    ) -> Path:
        model = onnx.load(tiny_artifact)
        if graph is not None:
            graph(model.graph)
        if document is not None:
            metadata = {entry.key: entry.value for entry in model.metadata_props}
            parsed = json.loads(metadata[METADATA_KEY])
            document(parsed)
            onnx.helper.set_model_props(model, metadata | {METADATA_KEY: json.dumps(parsed)})
        path = tmp_path / "edited.onnx"
        path.write_bytes(seal(model.SerializeToString()))
        return path

    return run


@pytest.fixture
def edit_text(text_artifact: Path, tmp_path: Path, seal: Callable[[bytes], bytes]) -> Edit:
    """Writes a changed copy with a digest that fits; `tokenizer` replaces `tokenizer.json`, `packed` its packed form.

    The document says of the tokenizer what is true of the new one, before `document` changes it.
    """

    def run(
        *,
        document: Callable[[dict[str, Any]], object] = lambda _: None,
        graph: Callable[[onnx.GraphProto], object] = lambda _: None,
        tokenizer: bytes | None = None,
        packed: bytes | None = None,
    ) -> Path:
        model = onnx.load(text_artifact)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        parsed = json.loads(metadata[TEXT_KEY])
        if tokenizer is not None or packed is not None:
            (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == "tokenizer"]
            content = packed if packed is not None else zlib.compress(tokenizer or b"")
            tensor.raw_data, tensor.dims[0] = content, len(content)
            parsed["tokenizer"] |= {"packed_bytes": len(content)}
            if tokenizer is not None:
                facts = {"json_bytes": len(tokenizer), "sha256": hashlib.sha256(tokenizer).hexdigest()}
                parsed["tokenizer"] |= facts
        document(parsed)
        graph(model.graph)
        onnx.helper.set_model_props(model, metadata | {TEXT_KEY: json.dumps(parsed)})
        path = tmp_path / "edited.onnx"
        path.write_bytes(seal(model.SerializeToString()))
        return path

    return run


@pytest.fixture
def paired(edit_artifact: Edit, text_artifact: Path) -> Path:
    """The tiny artifact as if its weights and the text tower's came from one checkpoint."""
    sha256 = vit.read_text_artifact(text_artifact).source.sha256
    return edit_artifact(document=lambda document: document["source"].update(sha256=sha256))


@pytest.fixture(scope="session")
def large_artifact(
    tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory, seal: Callable[[bytes], bytes]
) -> Path:
    """The tiny artifact as one above 2 GB lies there: `big.onnx`, and its weights in `big.onnx.data`."""
    path = tmp_path_factory.mktemp("large") / "big.onnx"
    model = onnx.load(tiny_artifact)
    onnx.save(model, path, save_as_external_data=True, location="big.onnx.data")  # weights from 1 kB on
    weights = path.with_name("big.onnx.data").read_bytes()
    facts = {"file": "big.onnx.data", "bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    model = onnx.load(path, load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    document = json.loads(metadata[METADATA_KEY]) | {"external_data": facts}
    onnx.helper.set_model_props(model, metadata | {METADATA_KEY: json.dumps(document)})
    path.write_bytes(seal(model.SerializeToString()))
    return path


@pytest.fixture
def document() -> Document:
    """Metadata of a float32 artifact with attention maps."""
    return json.loads((GOLDEN / "artifact_v5.json").read_text(encoding="utf-8"))


@pytest.fixture
def int8_document() -> Document:
    """Metadata of an int8 artifact with registers."""
    return json.loads((GOLDEN / "artifact_v5_int8.json").read_text(encoding="utf-8"))


@pytest.fixture
def write_document(tmp_path: Path, seal: Callable[[bytes], bytes]) -> Callable[[object], Path]:
    """Writes an ONNX file with an empty graph and a metadata document, or a text in its place."""

    def run(document: object) -> Path:
        model = onnx.helper.make_model(onnx.GraphProto(name="empty"))
        text = document if isinstance(document, str) else json.dumps(document)
        onnx.helper.set_model_props(model, {METADATA_KEY: text})
        path = tmp_path / "model.onnx"
        path.write_bytes(seal(model.SerializeToString()))
        return path

    return run


@pytest.fixture
def refusal(write_document: Callable[[object], Path]) -> Callable[[object], str]:
    """The message with which a document, or a text in its place, is refused."""

    def run(document: object) -> str:
        path = write_document(document)
        with pytest.raises(vit.ArtifactError) as caught:
            vit.read_artifact(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert len(message.splitlines()) == 1
        assert len(message) < 300 + len(str(path))
        return message

    return run


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """`package(code)` puts a package of the OpenVINO plug-in's name where Python looks first."""
    name = EXECUTION_PROVIDERS["openvino"].plug_in.module

    def write(code: str) -> None:
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").write_text(code, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path / "site")

    monkeypatch.delitem(sys.modules, name, raising=False)
    # What these tests register is played, and onnxruntime forgets it with the test.
    monkeypatch.setattr("vit_runtime.devices.plugins._REGISTERED", set())
    yield write
    sys.modules.pop(name, None)


@pytest.fixture
def for_openvino(edit_artifact: Edit) -> Path:
    """The tiny model as a file whose target is OpenVINO."""
    return edit_artifact(document=lambda document: document.update(target="openvino"))


@pytest.fixture
def plug_in(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PlugIn]:
    """`plug_in("cpu", "gpu")` installs an OpenVINO that finds such devices, here and in processes that are started."""

    def install(*kinds: str) -> PlugIn:
        played = PlugIn(kinds)
        package(library_at(tmp_path / "plugin.so"))
        (custom := tmp_path / "custom").mkdir()
        (custom / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(custom), prepend=os.pathsep)
        monkeypatch.setenv(VARIABLE, "")
        played.behaves()
        play(played, monkeypatch.setattr)
        return played

    return install


@pytest.fixture
def photo(picture: UInt8Array, tmp_path: Path) -> Path:
    """A picture's file."""
    Image.fromarray(picture).save(path := tmp_path / "photo.png")
    return path


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that does not exist yet."""
    monkeypatch.setenv(CACHE_VARIABLE, str(folder := tmp_path / "cache"))
    return folder


@pytest.fixture(scope="session")
def dynamic_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in int8, whose ranges are taken while it runs."""
    folder = tmp_path_factory.mktemp("dynamic")
    request = ExportRequest(model=str(tiny_checkpoint), precision="int8", output=folder / "tiny.int8.onnx")
    return export(request).path
