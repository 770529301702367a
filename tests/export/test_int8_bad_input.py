"""What int8, fp16 and targets refuse: one line that says why, an exit status, and no file."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from vit_export.read.torchvision_state import random_state
from vit_runtime.artifact import Architecture

COMMAND = Path(sys.executable).with_name("vit-export")
SECONDS = 120


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    """Each test works in an empty folder, without color codes or narrow lines."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def refused(result, exit_code, pattern):
    """One error line, the last one, that the pattern describes."""
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "bug" not in result.stderr
    assert "RuntimeWarning" not in result.stderr
    lines = result.stderr.splitlines()
    (line,) = [line for line in lines if "error" in line.lower()]
    assert line == lines[-1]
    assert re.search(f"^error: {pattern}", line), line


# Options.


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ("--precision fp16", "--precision fp16: is not for the CPU.*--target gpu or --target portable.*int8"),
        ("--precision int8 --target gpu", "--precision int8: is not for --target gpu.*portable.*fp16"),
        ("--precision int8 --target gpu --calibrate PHOTOS", "--precision int8: is not for --target gpu"),
        ("--precision int8 --target portable", "--target portable: takes static int8 only.*--calibrate"),
        *(
            (f"{precision}{words}", f"{option}: is for int8; add --precision int8")
            for precision in ("", "--precision fp16 --target portable ", "--target gpu ")
            for option, words in (
                ("--calibrate", "--calibrate PHOTOS"),
                ("--keep-float", "--keep-float 2"),
                ("--keep-float", "--keep-float encoder/0/*"),
                ("--max-drop", "--max-drop 1"),
            )
        ),
        ("--max-drop 0", "--max-drop: is for int8"),
        ("--precision int8 --max-drop 1", "--max-drop: is measured on calibration pictures; add --calibrate"),
        *(
            (f"--precision int8 --calibrate PHOTOS --max-drop {bad}", "--max-drop: .* is no share; give a percentage")
            for bad in ("-1", "-0.001", "nan", "100", "1000", "inf", "-inf")
        ),
        ("--precision int8 --calibrate PHOTOS --keep-float -1", "--keep-float: -1 is no number of layers"),
        *(
            (f"--precision int8 --calibrate PHOTOS --keep-float {bad}", "--keep-float: '.*' has an empty name")
            for bad in ("encoder/0/*,", ",encoder/0/*", "encoder/0/*,,encoder/1/*", ",", "2,")
        ),
        ("--precision int8 --keep-float 3", "--keep-float: a number needs --calibrate"),
        ("--precision int8 --keep-float 1", "--keep-float: a number needs --calibrate"),
    ],
)
def test_options_that_do_not_go_together(
    arguments, pattern, vit_export_cli, three_blocks, calibration_folder, files_in
):
    words = [str(calibration_folder) if word == "PHOTOS" else word for word in arguments.split()]
    refused(vit_export_cli(three_blocks, *words), 2, pattern)
    assert files_in(Path()) == []


@pytest.mark.parametrize("option", ["--precision", "--target"])
@pytest.mark.parametrize("value", ["int4", "INT8", ""])
def test_values_that_the_option_itself_refuses(option, value, vit_export_cli, three_blocks, files_in):
    result = vit_export_cli(three_blocks, option, value)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert files_in(Path()) == []


@pytest.mark.parametrize("words", ["--max-drop x", "--max-drop 1%"])
def test_a_share_that_is_no_number(words, vit_export_cli, three_blocks, files_in):
    result = vit_export_cli(three_blocks, "--precision", "int8", *words.split())
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert files_in(Path()) == []


@pytest.mark.parametrize("calibrated", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize(
    ("name", "offer"),
    [
        ("nonsense", "known are patch_embed/projection"),
        ("encoder/0/mlp/hiden", "did you mean .*encoder/0/mlp/hidden"),
        ("encoder/3/*", ""),
        ("logits", ""),
        ("encoder/0/mlp/hidden,encoder/9/mlp/hidden", "did you mean"),
        ("2.5", ""),
        ("2,3", ""),
    ],
)
def test_a_layer_that_there_is_not(name, offer, calibrated, vit_export_cli, three_blocks, calibration_folder, files_in):
    words = ["--precision", "int8", "--keep-float", name]
    words += ["--calibrate", str(calibration_folder)] if calibrated else []
    missing = re.escape(name.split(",")[-1] if "/" in name else name.split(",", maxsplit=1)[0])
    refused(vit_export_cli(three_blocks, *words), 1, f"layer '{missing}': unknown; .*{offer}")
    assert files_in(Path()) == []


# Calibration pictures.


@pytest.fixture
def bad_folders(here) -> Path:
    """Folders that nothing can be calibrated on, by name."""
    for name in ("empty", "no_pictures", "unreadable", "one", "one_of_three"):
        (here / name).mkdir()
    (here / "no_pictures" / "notes.txt").write_text("no picture")
    for name in (
        "unreadable/a.jpg",
        "unreadable/b.png",
        "unreadable/c.jpg",
        "one_of_three/a.jpg",
        "one_of_three/b.jpg",
    ):
        (here / name).write_bytes(b"\xff\xd8\xff no picture")
    picture = Image.fromarray(np.full((40, 40, 3), 99, np.uint8))
    picture.save(here / "one" / "a.png")
    picture.save(here / "one_of_three" / "c.png")
    picture.save(here / "file.png")
    return here


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("missing", "no such folder"),
        ("file.png", "not a folder"),
        ("empty", "a folder without pictures"),
        ("no_pictures", "a folder without pictures"),
        ("unreadable", "holds too few pictures: 0 of 3 can be read, 2 are the least"),
        ("one", "holds too few pictures: 1 of 1 can be read, 2 are the least"),
        ("one_of_three", "holds too few pictures: 1 of 3 can be read, 2 are the least"),
    ],
)
@pytest.mark.parametrize("target", ["cpu", "portable"])
def test_folders_that_nothing_can_be_calibrated_on(
    name, pattern, target, vit_export_cli, three_blocks, bad_folders, files_in
):
    before = files_in(bad_folders)
    words = ["--precision", "int8", "--calibrate", name, "--target", target]
    refused(
        vit_export_cli(three_blocks, *words), 1, f"{re.escape(name)}: {pattern}; give a folder with 32 or more photos"
    )
    assert files_in(bad_folders) == before


def test_a_few_unreadable_pictures_are_named_and_passed_over(vit_export_cli, three_blocks, bad_folders):
    Image.fromarray(np.full((50, 60, 3), 9, np.uint8)).save(bad_folders / "one_of_three" / "d.png")
    words = ["--precision", "int8", "--calibrate", "one_of_three", "-o", "out.onnx"]
    result = vit_export_cli(three_blocks, *words)
    # Two flat pictures may well be too few for the verification: what is asserted is that the reader does not stop.
    assert result.exit_code in (0, 3)
    for name in ("a.jpg", "b.jpg"):
        assert re.search(rf"skipped: one_of_three/{name}: ", result.stderr)
    assert "2 of 4 pictures could not be read: calibrating on 2" in result.stderr


# Weights.


@pytest.mark.parametrize("kind", ["static", "dynamic", "portable"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name", ["encoder.layers.encoder_layer_1.mlp.0.weight", "encoder.layers.encoder_layer_1.ln_1.bias"]
)
def test_weights_that_are_no_numbers(
    name, value, kind, vit_export_cli, three_blocks, calibration_folder, here, files_in
):
    state = load_file(three_blocks)
    state[name].view(-1)[7] = value
    save_file(state, here / "broken.safetensors")
    words = ["--precision", "int8"]
    words += [] if kind == "dynamic" else ["--calibrate", str(calibration_folder)]
    words += ["--target", "portable"] if kind == "portable" else []
    refused(vit_export_cli("broken.safetensors", *words), 1, rf".*{re.escape(name)}.*(NaN|infinit)")
    assert files_in(here) == ["broken.safetensors"]


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_a_model_that_overflows(kind, vit_export_cli, three_blocks, calibration_folder, here, files_in):
    """Finite weights whose products are not."""
    state = load_file(three_blocks)
    for name in ("encoder.ln.weight", "heads.head.weight"):
        state[name] *= 1e22
    save_file(state, here / "huge.safetensors")
    words = ["--precision", "int8", *([] if kind == "dynamic" else ["--calibrate", str(calibration_folder)])]
    result = vit_export_cli("huge.safetensors", *words)
    assert result.exit_code in (1, 3)
    refused(result, result.exit_code, ".*")
    assert files_in(here) == ["huge.safetensors"]


# Ctrl-C.


@pytest.fixture(scope="module")
def slow_enough(calibration_folder, tmp_path_factory) -> list[Path]:
    """A checkpoint and a folder of pictures with which each stage lasts until a signal comes."""
    folder = tmp_path_factory.mktemp("slow_enough")
    architecture = Architecture(
        image_size=112, patch_size=16, layers=2, heads=6, width=384, mlp_width=1536, classes=7, layer_norm_eps=1e-6
    )
    save_file(random_state(architecture, seed=3), folder / "medium.safetensors")
    (folder / "photos").mkdir()
    for photo in calibration_folder.iterdir():
        for copy in range(20):
            (folder / "photos" / f"{copy}-{photo.name}").symlink_to(photo)
    return [folder / "medium.safetensors", folder / "photos"]


@pytest.mark.parametrize("stage", ["calibrating on", "rounding", "comparing with float32"])
def test_ctrl_c_while_quantizing_leaves_nothing(stage, slow_enough, folder, interruptible_popen):
    checkpoint, photos = slow_enough
    words = [COMMAND, checkpoint, "--precision", "int8", "--calibrate", photos]
    with interruptible_popen([*map(str, words), "-o", str(folder / "out")]) as process:
        seen = []
        for line in process.stderr:
            seen.append(line.strip())
            if line.startswith(stage):
                break
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=SECONDS)
    assert seen[-1].startswith(stage), seen
    assert process.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
    assert stderr.strip() == "interrupted"
    assert list((folder / "out").iterdir()) == []
