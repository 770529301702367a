"""`vit-run`: the answer on stdout and nothing else, one line for each error, the promised exit status."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import vit_runtime as vit
import vit_runtime.cli
from vit_runtime.arrays import UInt8Array

Edit = Callable[..., Path]
RandomPictures = Callable[[int], list[UInt8Array]]
Run = Callable[..., Any]


@pytest.fixture
def photos(tmp_path: Path, random_pictures: RandomPictures) -> list[Path]:
    """Five pictures, 0.png to 4.png."""
    paths = [tmp_path / "photos" / f"{number}.png" for number in range(5)]
    paths[0].parent.mkdir()
    for path, picture in zip(paths, random_pictures(5), strict=True):
        Image.fromarray(picture).save(path)
    return paths


@pytest.fixture
def broken(photos: list[Path]) -> Path:
    """The third of the five pictures, cut off."""
    photos[2].write_bytes(photos[2].read_bytes()[:200])
    return photos[2]


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def error_line(result: Any) -> str:
    """The one line that begins with "error:"."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.stderr
    assert "bug in vit-edge" not in result.stderr
    return line


def test_classify_prints_a_picture_and_its_classes(vit_run: Run, labelled_artifact: Path, photos: list[Path]):
    result = vit_run("classify", labelled_artifact, photos[0], "--top", 2)
    assert result.exit_code == 0
    first, second = vit.load(labelled_artifact).classify(photos[0], top_k=2)
    assert result.stdout.splitlines() == [
        str(photos[0]),
        f"  {first.probability:7.2%}  {first.label}  (class {first.index})",
        f"  {second.probability:7.2%}  {second.label}  (class {second.index})",
    ]
    assert "CPUExecutionProvider" in result.stderr


@pytest.mark.parametrize(
    "options", [(), ("--batch", 1), ("--batch", 2), ("--threads", 1), ("--provider", "cpu")], ids=str
)
def test_classify_json_has_a_line_for_each_picture_in_order(
    options: tuple[object, ...], vit_run: Run, labelled_artifact: Path, photos: list[Path]
):
    result = vit_run("classify", labelled_artifact, *photos, "--json", "--top", 3, *options)
    assert result.exit_code == 0
    lines = json_lines(result.stdout)
    assert [line["image"] for line in lines] == [str(path) for path in photos]
    for line, predictions in zip(lines, vit.load(labelled_artifact).classify(photos, top_k=3), strict=True):
        assert list(line) == ["image", "predictions"]
        assert [entry["index"] for entry in line["predictions"]] == [prediction.index for prediction in predictions]
        assert [entry["label"] for entry in line["predictions"]] == [prediction.label for prediction in predictions]
        for entry, prediction in zip(line["predictions"], predictions, strict=True):
            assert entry["probability"] == pytest.approx(prediction.probability, abs=1e-6)


def test_embed_json_brings_back_every_bit(vit_run: Run, tiny_artifact: Path, tiny: vit.ViT, photos: list[Path]):
    result = vit_run("embed", tiny_artifact, *photos, "--batch", 5)
    assert result.exit_code == 0
    lines = json_lines(result.stdout)
    assert [line["image"] for line in lines] == [str(path) for path in photos]
    assert np.array_equal(np.array([line["embedding"] for line in lines], np.float32), tiny.embed(photos))


def test_embed_writes_a_numpy_file(
    vit_run: Run, tiny_artifact: Path, tiny: vit.ViT, photos: list[Path], tmp_path: Path
):
    output = tmp_path / "embeddings.npy"
    result = vit_run("embed", tiny_artifact, photos[0].parent, "-o", output)
    assert result.exit_code == 0
    assert result.stdout == ""
    embeddings = np.load(output)
    assert embeddings.dtype == np.float32
    assert np.array_equal(embeddings, tiny.embed(photos))


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_a_broken_picture_is_named_and_the_others_are_answered(
    batch: int, vit_run: Run, tiny_artifact: Path, tiny: vit.ViT, photos: list[Path], broken: Path
):
    result = vit_run("embed", tiny_artifact, *photos, "--batch", batch)
    assert result.exit_code == 1
    assert str(broken) in error_line(result)
    good = [path for path in photos if path != broken]
    lines = json_lines(result.stdout)
    assert [line["image"] for line in lines] == [str(path) for path in photos]
    failed = [line for line in lines if "error" in line]
    assert failed == [{"image": str(broken), "error": error_line(result).removeprefix("error: ")}]
    lines = [line for line in lines if "error" not in line]
    np.testing.assert_allclose([line["embedding"] for line in lines], tiny.embed(good), rtol=0, atol=1e-5)


@pytest.mark.parametrize("command", ["classify", "embed", "similar", "attend"])
def test_a_missing_picture_alone(command: str, vit_run: Run, attention_artifact: Path, tmp_path: Path):
    missing = tmp_path / "missing.jpg"
    result = vit_run(command, attention_artifact, *([missing, tmp_path] if command == "similar" else [missing]))
    assert result.exit_code == 1
    assert error_line(result) == f"error: {tmp_path / 'missing.jpg'}: no such file"
    if command == "embed":  # whose answers are records
        assert json_lines(result.stdout) == [{"image": str(missing), "error": f"{missing}: no such file"}]
    else:
        assert result.stdout == ""


def test_embed_to_a_file_is_all_pictures_or_no_file(
    vit_run: Run, tiny_artifact: Path, photos: list[Path], broken: Path, tmp_path: Path
):
    result = vit_run("embed", tiny_artifact, *photos, "-o", tmp_path / "embeddings.npy")
    assert result.exit_code == 1
    assert str(broken) in error_line(result)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_embed_to_a_missing_folder(vit_run: Run, tiny_artifact: Path, photos: list[Path], tmp_path: Path):
    output = tmp_path / "missing" / "embeddings.npy"
    result = vit_run("embed", tiny_artifact, photos[0], "-o", output)
    assert result.exit_code == 1
    assert error_line(result).startswith(f"error: {output}: cannot be written (No such file or directory)")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_folder_without_pictures(vit_run: Run, tiny_artifact: Path, tmp_path: Path):
    result = vit_run("classify", tiny_artifact, tmp_path)
    assert result.exit_code == 1
    assert error_line(result).startswith(f"error: {tmp_path}: a folder without pictures")


def test_check_shows_its_numbers(vit_run: Run, tiny_artifact: Path):
    result = vit_run("check", tiny_artifact)
    assert result.exit_code == 0
    assert re.search(r"^logits +largest difference \d\.\de-\d\d, limit 1\.0e-03$", result.stdout, re.MULTILINE)
    assert re.search(r"^result +PASS", result.stdout, re.MULTILINE)


def test_info_shows_what_the_file_says(vit_run: Run, labelled_artifact: Path):
    result = vit_run("info", labelled_artifact)
    assert result.exit_code == 0
    assert result.stderr == ""
    for fact in ("32, 32, 3", "bilinear", "Samoyed, tabby, cat, café, 犬, ...", "2 layers", "fp32", "onnxruntime"):
        assert fact in result.stdout


def test_info_json_is_the_document(vit_run: Run, labelled_artifact: Path):
    (line,) = json_lines(vit_run("info", labelled_artifact, "--json").stdout)
    assert line == json.loads(vit.read_artifact(labelled_artifact).to_json())


PICTURES = {"classify": 1, "embed": 1, "similar": 2, "attend": 1, "check": 0, "info": 0}
"""How many pictures a command takes at least."""


@pytest.mark.parametrize("command", PICTURES)
def test_a_file_that_is_no_model(command: str, vit_run: Run, photos: list[Path]):
    result = vit_run(command, photos[1], *photos[: PICTURES[command]])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert error_line(result).startswith(f"error: {photos[1]}: not an ONNX file")


@pytest.mark.parametrize("command", ["classify", "embed", "similar", "check"])
def test_random_weights_are_announced(command: str, vit_run: Run, edit_artifact: Edit, photos: list[Path]):
    model = edit_artifact(document=lambda document: document["source"].update(weights="random", sha256=None, seed=3))
    result = vit_run(command, model, *photos[: PICTURES[command]])
    assert result.exit_code == 0
    assert "warning: this model has random weights" in result.stderr
    assert "warning" not in result.stdout


def test_trained_weights_are_not_announced_as_random(vit_run: Run, tiny_artifact: Path, photos: list[Path]):
    assert "random" not in vit_run("classify", tiny_artifact, photos[0]).stderr


def test_info_tells_random_weights(vit_run: Run, edit_artifact: Edit):
    model = edit_artifact(document=lambda document: document["source"].update(weights="random", sha256=None, seed=3))
    assert "random, seed 3: never trained, its answers mean nothing" in vit_run("info", model).stdout


USAGE_ERRORS = {
    "no classes": ("classify", "MODEL", "PICTURE", "--top", 0),
    "no batch": ("classify", "MODEL", "PICTURE", "--batch", 0),
    "no threads": ("embed", "MODEL", "PICTURE", "--threads", 0),
    "no number": ("classify", "MODEL", "PICTURE", "--top", "many"),
    "no picture": ("classify", "MODEL"),
    "no model": ("check",),
    "unknown option": ("info", "MODEL", "--fast"),
    "unknown command": ("detect", "MODEL"),
    "unknown provider": ("check", "MODEL", "--provider", "gpu"),
    "embeddings in an unknown format": ("embed", "MODEL", "PICTURE", "-o", "embeddings.txt"),
    "nothing to compare with": ("similar", "MODEL", "PICTURE"),
    "an index and folders": ("similar", "MODEL", "PICTURE", "PICTURE", "--index", "photos.index"),
    "an index without a place": ("index", "MODEL", "PICTURE"),
    "nothing to search for": ("search", "PICTURE", "", "--text", "MODEL", "--model", "MODEL"),
    "words without a text tower": ("search", "PICTURE", "a red car", "--model", "MODEL"),
    "no words": ("search", "PICTURE", "--text", "MODEL", "--model", "MODEL"),
    "no similar pictures": ("similar", "MODEL", "PICTURE", "PICTURE", "--top", 0),
    "maps in an unknown format": ("attend", "MODEL", "PICTURE", "-o", "map.csv"),
    "maps in two ways": ("attend", "MODEL", "PICTURE", "--json", "-o", "map.png"),
    "nothing": (),
}


@pytest.mark.parametrize("mistake", USAGE_ERRORS)
def test_a_mistake_in_the_usage_exits_with_2(mistake: str, vit_run: Run, tiny_artifact: Path, photos: list[Path]):
    given = {"MODEL": tiny_artifact, "PICTURE": photos[0]}
    result = vit_run(*(given.get(word, word) for word in USAGE_ERRORS[mistake]))
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_a_provider_that_is_not_here(vit_run: Run, tiny_artifact: Path):
    provider = "tensorrt" if sys.platform == "darwin" else "coreml"
    result = vit_run("check", tiny_artifact, "--provider", provider)
    assert result.exit_code == 1
    assert f"provider '{provider}': not in this build of onnxruntime" in error_line(result)


def test_the_version(vit_run: Run):
    assert re.fullmatch(r"vit-edge \d+\.\d+\.\d+\S*\n", vit_run("--version").stdout)


RUN = ("MODEL.onnx", "--provider", "--threads", "--no-profile")
READ = ("IMAGES", "--fail-fast", "--decode", "--max-pixels", "--max-bytes", "--max-seconds")
WRITE = ("--output", "-o", "--force")
OPTIONS = {
    "classify": (*RUN, *READ, *WRITE, "--resume", "--batch", "--top", "--json"),
    "embed": (*RUN, *READ, *WRITE, "--resume", "--batch", "--normalize"),
    "similar": (*RUN, *READ, "QUERY", "--index", "--batch", "--top", "--json"),
    "search": (*RUN, *READ, "INDEX", "WORDS", "--text", "TEXT.onnx", "--model", "--batch", "--top", "--json"),
    "index": (*RUN, *READ, *WRITE, "--int8", "--batch"),
    "attend": (*RUN, *READ, *WRITE, "--resume", "--json"),
    "watch": (
        *RUN,
        *("SOURCE", "--top", "--json", "--every", "--smooth", "--on-change", "--frames", "--seconds"),
        *("--timeout", "--reconnect", "--no-reconnect"),
    ),
    "serve": (
        *("--host", "--port", "--index", "--token", "--no-token", "--allow-host", "--allow-origin", "--idle-unload"),
        *("--queue", "--max-pictures", "--max-body", "--max-pixels", "--max-seconds", "--decode", "--for"),
        *("--provider", "--threads", "--device", "--no-profile", "MODEL.onnx"),
    ),
    "check": ("--report", "--force", "--json", "--provider", "--threads", "--no-profile", "MODEL.onnx"),
    "tune": ("--seconds", "--for", "--json", "MODEL.onnx"),
    "prepare": ("--json", "MODEL.onnx"),
    "cache": ("list", "clear"),
    "devices": ("--json",),
    "info": ("--json", "MODEL.onnx"),
}


@pytest.mark.parametrize("command", OPTIONS)
def test_the_help_of_every_command_names_its_options(command: str, vit_run: Run):
    result = vit_run(command, "--help")
    assert result.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout)  # typer colours its help on some CI machines
    for option in OPTIONS[command]:
        assert option in plain


def test_every_command_and_every_option_is_explained():
    commands = typer.main.get_command(vit_runtime.cli.app).commands
    assert set(commands) == set(OPTIONS)
    for command in commands.values():
        for each in (command, *getattr(command, "commands", {}).values()):
            assert each.help.endswith((".", "?"))
            for parameter in each.params:
                assert parameter.help.endswith("."), f"{command.name} {each.name} {parameter.name}"


def test_nothing_is_replaced_without_being_asked_for(
    vit_run: Run, attention_artifact: Path, picture: UInt8Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """`attend .` a second time took its own overlays for photos, and wrote over them."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture).save("cat.png")
    assert vit_run("attend", attention_artifact, ".").stdout == "cat.attention.png\n"
    again = vit_run("attend", attention_artifact, ".")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "cat.attention.png: exists already; add --force to replace it, or choose another --output" in again.stderr
    assert vit_run("attend", attention_artifact, ".", "--force").stdout == "cat.attention.png\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cat.attention.png", "cat.png"]

    assert vit_run("embed", attention_artifact, "cat.png", "-o", "cat.npy").exit_code == 0
    again = vit_run("embed", attention_artifact, "cat.png", "-o", "cat.npy")
    assert again.exit_code == 1
    assert "cat.npy: exists already; add --force" in again.stderr
    assert vit_run("embed", attention_artifact, "cat.png", "-o", "cat.npy", "--force").exit_code == 0
