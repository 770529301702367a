"""A repository of the Hugging Face hub: from its cache, from a hub that answers, and one line where there is none.

No test leaves the machine: the hub is one of the test's own, or its client is told that there is no network.
"""

from __future__ import annotations

import hashlib
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants, errors

import vit_runtime as vit
from vit_export import ExportRequest, export
from vit_export.errors import DownloadError
from vit_export.progress import Silent
from vit_export.read.repository import Hub

from . import hf_models
from .timm_models import answers, config_of, one_thread, photos, prepared, save, seeded, small  # noqa: F401 - one_thread is a fixture

COMMIT, OLDER = "a" * 40, "b" * 40
ID = "timm/vit_tiny_patch16_224.augreg_in21k"
FETCH = rf"on another machine fetch config\.json, model\.safetensors .*from huggingface\.co/{ID}, .*give that folder$"
README = "---\ntags:\n- image-classification\nlicense: apache-2.0\n---\n# Model card\nlicense: not this one\n"


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def cache(folder, monkeypatch) -> Path:
    """The hub's cache, empty."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    return folder / "cache"


@pytest.fixture
def no_network(monkeypatch) -> None:
    """What `HF_HUB_OFFLINE=1` does; a test that asks all the same fails."""

    def refuse(*_: object) -> None:
        raise AssertionError("a test asked the network")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def lay(cache: Path, repository: str, files: Mapping[str, bytes], *, commit: str = COMMIT, ref: str = "main") -> Path:
    """Files as the hub's client keeps them: blobs by digest, a snapshot of links to them, and what a branch is at."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    for path in (root / "blobs", root / "refs", snapshot):
        path.mkdir(parents=True, exist_ok=True)
    (root / "refs" / ref).write_text(commit)
    for name, content in files.items():
        blob = root / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{blob.name}")
    return snapshot


def lay_absent(cache: Path, repository: str, *names: str) -> None:
    """What the client remembers of files that are not there."""
    folder = cache / f"models--{repository.replace('/', '--')}" / ".no_exist" / COMMIT
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


# The hub's client fails.


def of_http(kind: type[Exception], status: int) -> Exception:
    return kind(
        "Client Error.\n\nurl: https://huggingface.co/x",
        response=SimpleNamespace(headers={}, request=None, status_code=status),
    )


@pytest.mark.parametrize(
    ("error", "pattern"),
    [
        (errors.LocalEntryNotFoundError("check your\nconnection"), rf"cannot be downloaded .*reached\); {FETCH}"),
        (errors.OfflineModeIsEnabled("offline"), rf"cannot be downloaded .*reached\); {FETCH}"),
        (
            of_http(errors.GatedRepoError, 403),
            "terms to be accepted; accept them on its page, then run: hf auth login$",
        ),
        (of_http(errors.RepositoryNotFoundError, 401), "no such repository, or a private one; check the id .*hf auth"),
        (of_http(errors.RevisionNotFoundError, 404), "has no such revision; leave @revision out for the newest$"),
        (of_http(errors.HfHubHTTPError, 503), rf"cannot be downloaded \(Client Error\. url: .*\); {FETCH}"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (TimeoutError(), rf"cannot be downloaded \(TimeoutError\); {FETCH}"),
        (RuntimeError("of\nmany\nlines"), r"cannot be downloaded \(of many lines\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.usefixtures("cache")
def test_one_line_says_what_to_do(error, pattern, monkeypatch):
    def fail(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(DownloadError, match=rf"^{ID}: .*{pattern}") as caught:
        Hub(ID, Silent()).find("config.json")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("kind", [errors.EntryNotFoundError, errors.RemoteEntryNotFoundError])
@pytest.mark.usefixtures("cache")
def test_a_file_that_is_not_there(kind, monkeypatch):
    error = kind("none") if kind is errors.EntryNotFoundError else of_http(kind, 404)

    def fail(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    assert Hub(ID, Silent()).find("preprocessor_config.json") is None


@pytest.mark.usefixtures("cache")
def test_ctrl_c_is_no_failure_of_the_hub(monkeypatch):
    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Hub(ID, Silent()).find("config.json")
    assert logging.getLogger("huggingface_hub").level != logging.CRITICAL


# Its cache.


@pytest.mark.usefixtures("no_network")
def test_what_is_in_the_cache_is_not_looked_up(cache):
    snapshot = lay(cache, ID, {"config.json": b"{}"})
    lay(cache, ID, {"config.json": b"[]"}, commit=OLDER, ref="v1.0")
    lay_absent(cache, ID, "model.safetensors.index.json")
    notes = Notes()
    assert Hub(ID, notes).find("config.json") == snapshot / "config.json"
    assert Hub(f"{ID}@main", notes).find("config.json") == snapshot / "config.json"
    assert Hub(f"{ID}@{COMMIT}", notes).find("config.json") == snapshot / "config.json"
    assert Hub(f"{ID}@v1.0", notes).find("config.json").read_bytes() == b"[]"
    assert Hub(ID, notes).find("model.safetensors.index.json") is None
    assert notes.lines == []


@pytest.mark.usefixtures("no_network")
def test_what_is_not_in_the_cache_cannot_be_had(cache):
    lay(cache, ID, {"config.json": b"{}"})
    notes = Notes()
    with pytest.raises(DownloadError, match=rf"^{ID}@v2: cannot be downloaded \(the hub cannot be reached\); {FETCH}"):
        Hub(f"{ID}@v2", notes).find("config.json")
    assert notes.lines == [f"fetching config.json of {ID}@v2 from the Hugging Face hub"]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("model", "where"),
    [(ID, ID), (f"{ID}@main", f"{ID}@main"), (f"hf-hub:{ID}", ID), (ID.removeprefix("timm/"), ID)],
)
def test_a_model_of_timm_from_the_cache_by_its_id(model, where, cache, folder, vit_export_cli):
    """The whole way, without a network: by the command that the README shows."""
    timm_model = small("vit_tiny_patch16_224", num_classes=7)
    config = config_of(timm_model, license=None)
    files = contents(save(folder / "made", timm_model.state_dict(), config))
    lay(cache, ID, files | {"README.md": README.encode()})

    result = vit_export_cli(model, "-o", folder / "out")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(folder / "out" / "vit_tiny_patch16_224.augreg_in21k.onnx")
    runtime = vit.load(result.stdout.strip())
    expected = answers(timm_model, prepared(config["pretrained_cfg"]))["logits"]
    assert np.abs(runtime.logits(photos()) - expected).max() < 1e-4
    source = runtime.artifact.source
    assert source.weights == where
    assert source.licence == "apache-2.0"
    assert source.sha256 == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert "fetching" not in result.stderr


@pytest.mark.usefixtures("no_network")
def test_a_model_of_hugging_face_from_the_cache_by_its_id(cache, folder, vit_export_cli):
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    names = {index: f"kind {index}" for index in range(7)}
    config = transformers.ViTConfig(image_size=32, patch_size=8, id2label=names, **sizes)
    model = seeded(transformers.ViTForImageClassification(config))
    processor = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32})
    model.save_pretrained(folder / "made")
    processor.save_pretrained(folder / "made")
    lay(cache, "me/my-model.v2", contents(folder / "made") | {"README.md": b"no header\n"})

    result = vit_export_cli("me/my-model.v2", "-o", folder / "out")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(folder / "out" / "my-model.v2.onnx")
    runtime = vit.load(result.stdout.strip())
    with torch.inference_mode():
        expected = model(processor(images=photos(), return_tensors="pt")["pixel_values"]).logits.numpy()
    assert np.abs(runtime.logits(photos()) - expected).max() < 1e-4
    assert runtime.artifact.labels == tuple(names.values())
    assert runtime.artifact.source.licence is None


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("cached", [(), ("config.json",)])
def test_nothing_is_written_where_weights_cannot_be_had(cached, cache, folder, files_in, vit_export_cli):
    files = contents(save(folder / "made", {}, config_of(small("vit_tiny_patch16_224"))))
    if cached:
        lay(cache, ID, {name: files[name] for name in cached})
    result = vit_export_cli(ID, "-o", folder / "out")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {ID}: cannot be downloaded (the hub cannot be reached); on another machine fetch")
    assert [file for file in files_in(folder) if file.startswith("out")] == []


# A hub that answers.


class _TestHub(BaseHTTPRequestHandler):
    """`/<owner>/<name>/resolve/<revision>/<file>`, as huggingface.co answers."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []
    commit: ClassVar[str] = COMMIT
    """What `main` is."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        repository, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        type(self).asked.append(f"{self.command} {name}")
        refusals = {"me/gated": (403, "GatedRepo"), "me/private": (401, "RepoNotFound")}
        refusal = refusals.get(repository)
        if revision not in ("main", self.commit):
            refusal = refusal or (404, "RevisionNotFound")
        elif name not in self.files:
            refusal = refusal or (404, "EntryNotFound")
        content = b"" if refusal else self.files[name]
        self.send_response(refusal[0] if refusal else 200)
        if refusal:
            self.send_header("X-Error-Code", refusal[1])
        else:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Keeps still."""


@pytest.fixture
def hub(monkeypatch, cache) -> Iterator[type[_TestHub]]:
    assert not cache.exists()
    monkeypatch.setattr(_TestHub, "files", {})
    monkeypatch.setattr(_TestHub, "asked", [])
    monkeypatch.setattr(_TestHub, "commit", COMMIT)
    with ThreadingHTTPServer(("127.0.0.1", 0), _TestHub) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield _TestHub
        huggingface_hub.close_session()
        server.shutdown()
        thread.join()


def test_a_model_is_fetched_once(hub, folder):
    model = small("vit_tiny_patch16_224", num_classes=7)
    config = config_of(model, license=None)
    hub.files |= contents(save(folder / "made", model.state_dict(), config)) | {"README.md": README.encode()}
    notes = Notes()

    exported = export(ExportRequest(model=ID, output=folder / "first"), notes)

    fetched = [line for line in notes.lines if line.startswith("fetching")]
    assert [line.split()[1] for line in fetched] == ["config.json", "model.safetensors", "README.md"]
    assert exported.artifact.source.licence == "apache-2.0"
    expected = answers(model, prepared(config["pretrained_cfg"]))["logits"]
    assert np.abs(vit.load(exported.path).logits(photos()) - expected).max() < 1e-4

    hub.asked.clear()
    export(ExportRequest(model=ID, output=folder / "second"), notes)
    assert hub.asked == []


def test_a_library_reads_what_was_fetched_not_what_was_there_before(hub, folder, vit_export_cli):
    """Only configurations are in the cache, of an older revision: weights come to another folder of the cache."""
    hub.files |= contents(hf_models.save(hf_models.make("ViT"), folder / "made"))
    hub.commit = OLDER
    for file in ("config.json", "preprocessor_config.json"):
        assert Hub("me/vit", Silent()).find(file) is not None
    hub.commit = COMMIT
    result = vit_export_cli("me/vit", "--against", "library", "-o", folder / "out.onnx")
    assert result.exit_code == 0, result.stderr
    assert vit.read_artifact(folder / "out.onnx").verification.reading == "library"


def test_what_the_hub_does_not_have_is_remembered(hub):
    assert Hub(ID, Silent()).find("model.safetensors") is None
    assert hub.asked == ["HEAD model.safetensors"]
    assert Hub(ID, Silent()).find("model.safetensors") is None
    assert hub.asked == ["HEAD model.safetensors"]


@pytest.mark.parametrize(
    ("repository", "pattern"),
    [
        ("me/gated", "me/gated: asks for its terms to be accepted; accept them on its page"),
        ("me/private", "me/private: no such repository, or a private one"),
        ("me/model@v3", "me/model@v3: has no such revision; leave @revision out"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_refuses(repository, pattern):
    with pytest.raises(DownloadError, match=f"^{pattern}"):
        Hub(repository, Silent()).find("config.json")
