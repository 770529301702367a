"""`vit-export`: the answer on stdout, everything else on stderr, one line an error, and nothing left of a failure."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version

import huggingface_hub
import pytest
from torchvision.models import get_model_weights

import vit_runtime as vit
from vit_export.cli import app
from vit_export.read.torchvision import MODELS
from vit_runtime.artifact import read_artifact
from vit_runtime.selftest import waves


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    """Each test works in an empty folder, without published weights and without color codes or narrow lines."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TORCH_HOME", str(folder.parent / "hub"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def refused(result, exit_code, *parts):
    """Checks what every failure has in common; `parts` are patterns that its one line should contain."""
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "bug" not in result.stderr
    lines = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", result.stderr).splitlines()  # without a terminal's control codes
    (line,) = [line for line in lines if "error" in line.lower()]
    assert line.startswith("error: ")
    assert line == lines[-1]
    for part in parts:
        assert re.search(part, line), line


# Asking about the command.


def test_help_names_every_option_and_says_what_it_is_for(vit_export_cli):
    result = vit_export_cli("--help")
    assert result.exit_code == 0
    (command,) = app.registered_commands
    options = {
        *("--weights", "--seed", "--checkpoint", "--labels", "--heads", "--image-size", "--resize", "--interpolation"),
        *("--mean", "--std", "--precision", "--calibrate", "--keep-float", "--max-drop", "--target"),
        *("--attention", "--head-fusion", "--discard-ratio"),
        *("--classes", "--prompt", "--text", "--output", "--triton", "--force", "--list", "--version"),
    }
    assert options <= set(re.findall(r"--[a-z-]+", result.stdout))
    assert command.callback.__doc__ in result.stdout
    assert "models/<model>[.int8|.fp16].onnx" in result.stdout
    assert "lanczos" in result.stdout


def test_no_arguments_show_the_help(vit_export_cli):
    assert "Usage: " in (output := vit_export_cli().output)
    assert "vit_b_16 and others" in output


def test_version_is_the_installed_one(vit_export_cli):
    result = vit_export_cli("--version")
    assert (result.exit_code, result.stdout) == (0, f"vit-edge {version('vit-edge')}\n")


def test_list_names_every_model_and_entry_with_its_facts(vit_export_cli):
    result = vit_export_cli("--list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    others = ["owner/name, or a folder with config.json", "a file of weights"]
    assert [line for line in lines if not line.startswith(" ")] == [*MODELS, *others]
    for family in ("Hugging Face", "timm"):
        assert any(line.startswith(f"  {family} ") for line in lines)
    for model in MODELS:
        for entry in get_model_weights(model):
            accuracy = entry.meta["_metrics"]["ImageNet-1K"]["acc@1"]
            pattern = rf"  {entry.name} +{entry.transforms().crop_size[0]} px, .* {accuracy:.1f} %, \d+ MB"
            default = ", default" if entry is get_model_weights(model).DEFAULT else ""
            assert any(re.fullmatch(pattern + default, line) for line in lines), pattern
    assert sum("default" in line for line in lines) == len(MODELS)


# An export.


def test_stdout_is_the_path_and_stderr_the_report(vit_export_cli, tiny_checkpoint, here):
    result = vit_export_cli(tiny_checkpoint, "-o", here / "mine.onnx")
    assert result.exit_code == 0
    assert result.stdout == f"{here / 'mine.onnx'}\n"
    record = read_artifact(here / "mine.onnx").verification
    differences = [f"{check.output}  .*largest difference {check.max_difference:.1e}" for check in record.outputs]
    assert len(differences) == 2
    for part in ("verified", re.escape(record.runtime), *differences, "same pixels 4", "SHA-256"):
        assert re.search(part, result.stderr)
    assert "random" not in result.stderr
    assert "Warning" not in result.stderr


@pytest.mark.parametrize(
    ("output", "written"),
    [
        ([], "models/tiny.onnx"),
        (["-o", "new"], "new/tiny.onnx"),
        (["-o", "new/deeper/"], "new/deeper/tiny.onnx"),
        (["--output", "there"], "there/tiny.onnx"),
        (["-o", "."], "tiny.onnx"),
        (["-o", "file.onnx"], "file.onnx"),
        (["-o", "new/file.onnx"], "new/file.onnx"),
    ],
)
def test_the_file_goes_where_it_should(output, written, vit_export_cli, tiny_checkpoint, here, files_in):
    (here / "there").mkdir()
    result = vit_export_cli(tiny_checkpoint, *output)
    assert result.stdout == f"{written}\n"
    assert files_in(here) == [written]
    assert vit.load(here / written).artifact.model == "tiny"


def test_options_end_up_in_the_artifact(vit_export_cli, tiny_checkpoint, here):
    names = [f"class {n}" for n in "abcdefg"]
    (here / "labels.txt").write_text("\n".join(names))
    arguments = "--resize 20x24 --interpolation lanczos --mean 0.5,0.4,0.3 --std 0.2,0.3,0.25 --heads 4 --image-size 16"
    result = vit_export_cli(tiny_checkpoint, *arguments.split(), "--labels", here / "labels.txt")
    assert result.exit_code == 0, result.stderr
    artifact = read_artifact(here / "models" / "tiny.onnx")
    preprocessing = artifact.preprocessing
    assert (preprocessing.resize_hw, preprocessing.resize_shortest_edge) == ((20, 24), None)
    assert preprocessing.crop_hw == (16, 16)
    assert preprocessing.interpolation == "lanczos"
    assert (preprocessing.mean, preprocessing.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    assert artifact.architecture.heads == 4
    assert artifact.labels == tuple(names)


@pytest.mark.parametrize(
    ("arguments", "found"), [("--resize 40", (40, None)), ("--resize 32X48", (None, (32, 48))), ("", (37, None))]
)
def test_resize_takes_an_edge_or_an_exact_size(arguments, found, vit_export_cli, tiny_checkpoint, here):
    result = vit_export_cli(tiny_checkpoint, *arguments.split())
    assert "Warning" not in result.stderr
    preprocessing = read_artifact(here / "models" / "tiny.onnx").preprocessing
    assert (preprocessing.resize_shortest_edge, preprocessing.resize_hw) == found


def test_the_user_is_told_which_preparation_was_assumed(vit_export_cli, tiny_checkpoint, here):
    result = vit_export_cli(tiny_checkpoint, "--interpolation", "bicubic")
    told, recorded = [line for line in result.stderr.splitlines() if "does not say how pictures were prepared" in line]
    artifact = read_artifact(here / "models" / "tiny.onnx")
    assert str(artifact.preprocessing) in told
    taken = artifact.assumptions[-1]
    assert taken.value == "torchvision's ImageNet preset, but for interpolation, as asked for at the export"
    assert recorded.split() == ["preprocessing", *taken.value.split(), *f"({taken.basis})".split()]


def test_force_replaces_an_existing_output(vit_export_cli, tiny_checkpoint, here):
    (here / "tiny.onnx").write_text("precious")
    result = vit_export_cli(tiny_checkpoint, "-o", here)
    refused(result, 1, r"tiny\.onnx: exists already; add --force")
    assert (here / "tiny.onnx").read_text() == "precious"

    assert vit_export_cli(tiny_checkpoint, "-o", here, "--force").exit_code == 0
    vit.load(here / "tiny.onnx")


@pytest.mark.usefixtures("vit_b_16_is_tiny")
def test_random_weights_are_announced_and_their_seed_is_recorded(vit_export_cli, here):
    def answers(*words):
        result = vit_export_cli("vit_b_16", "--weights", "random", *words, "-o", here, "--force")
        assert result.exit_code == 0, result.stderr
        assert "warning: random weights" in result.stderr
        model = vit.load(result.stdout.strip())
        assert model.artifact.source.is_random
        return model.artifact.source.seed, model.logits(waves((32, 32)))

    (default, first), (zero, again), (three, other) = answers(), answers("--seed", "0"), answers("--seed", "3")
    assert (default, zero, three) == (0, 0, 3)
    assert (first == again).all()
    assert (first != other).all()


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_every_stage_is_shown_on_a_terminal_and_in_a_log(terminal, vit_export_cli, tiny_checkpoint, here, monkeypatch):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    result = vit_export_cli(tiny_checkpoint, "-o", here)
    assert result.exit_code == 0
    assert result.stdout == f"{here / 'tiny.onnx'}\n"
    for stage in ("reading tiny.safetensors", "asking PyTorch", "writing weights", "verifying against PyTorch"):
        assert stage in result.stderr
    assert ("\x1b[" in result.stderr) == terminal
    assert ("100%" in result.stderr) == terminal

    refused(vit_export_cli(tiny_checkpoint, "--labels", "imagenet", "-o", here, "--force"), 1, "1000 names")


# What is refused.


@pytest.mark.parametrize("package", ["torch", "torchvision", "onnx", "safetensors", "huggingface_hub", "onnxruntime"])
def test_a_missing_package_is_named_with_the_extra_before_the_work_begins(
    package, vit_export_cli, tiny_checkpoint, here, files_in, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to say that there is no such module
    result = vit_export_cli(tiny_checkpoint)
    refused(result, 1, rf"^error: {package}: not installed; run: pip install 'vit-edge\[.*cpu\]'$")
    assert "writing" not in result.stderr
    assert files_in(here) == []


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("vit_b16", ["'vit_b16': unknown", "did you mean vit_b_16"]),
        ("vit_large", ["did you mean .*vit_l_"]),
        (
            "mobilenet",
            ["known are vit_b_16, vit_b_32", "a checkpoint file, a folder, or an id of the Hugging Face hub"],
        ),
        ("vit_tiny_patch16_224", ["unknown", r"timm's need their tag: timm/vit_tiny_patch16_224\."]),
        ("vit_b_32 --weights IMAGENET1K_SWAG_E2E_V1", ["are for vit_b_16, vit_l_16, vit_h_14, not vit_b_32", "--list"]),
        ("vit_b_16 --weights imagenet", ["weights of vit_b_16 'imagenet': unknown"]),
        ("none.pth", [r"none\.pth: no such file"]),
        ("vit_b_16 --checkpoint none.pth", [r"none\.pth: no such file"]),
        ("folder", [r"folder: has no config\.json; give the folder that holds it, or the file of weights itself"]),
        ("vit_b_16 --checkpoint folder", ["folder: is a folder"]),
        ("notes.txt", [r"notes\.txt: damaged or no"]),
        ("TINY --labels none.txt", [r"none\.txt: cannot be read"]),
        ("TINY --labels imagenet", ["1000 names for 7 classes"]),
        ("TINY -o notes.txt", [r"cannot be written"]),
    ],
)
def test_input_that_cannot_be_used(arguments, parts, vit_export_cli, tiny_checkpoint, here, files_in):
    (here / "folder").mkdir()
    (here / "notes.txt").write_text("these are notes, not weights\n" * 9)
    words = [str(tiny_checkpoint) if word == "TINY" else word for word in arguments.split()]
    refused(vit_export_cli(*words), 1, *parts)
    assert files_in(here) == ["notes.txt"]


def test_a_name_with_an_owner_is_looked_for_on_the_hub(vit_export_cli, here, files_in, monkeypatch):
    def unreachable(repository, *_args, **_options):
        assert repository == "google/vit-base-patch16-224"
        raise OSError("no network in tests")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_args, **_options: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    result = vit_export_cli("google/vit-base-patch16-224")
    refused(result, 1, r"^error: google/vit-base-patch16-224: cannot be downloaded \(no network in tests\); on another")
    assert files_in(here) == []


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("--seed 1", "MODEL: missing"),
        ("vit_b_16 --seed 1", "--seed: is for random weights"),
        ("vit_b_16 --seed 1 --weights IMAGENET1K_V1", "--seed: "),
        ("TINY --seed 1", "--seed: "),
        ("TINY --weights IMAGENET1K_V1", "--weights: does not go with"),
        ("TINY --weights random", "--weights: does not go with"),
        ("TINY --checkpoint TINY", "--checkpoint: does not go with"),
        ("vit_b_16 --heads 12 --weights random", "--heads: vit_b_16 has its own"),
        ("vit_b_16 --checkpoint TINY --heads 12", "--heads: vit_b_16 has its own"),
        ("vit_b_16 --checkpoint TINY --weights IMAGENET1K_V1", "--weights: "),
        ("vit_b_16 --checkpoint TINY --weights random", "--weights: "),
        ("TINY --heads 3", "--heads: 3 heads do not divide"),
        ("TINY --image-size 30", "--image-size: .*take 24 or 32"),
        ("TINY --head-fusion max", "--head-fusion: is for attention maps; add --attention"),
        ("TINY --discard-ratio 0.5", "--discard-ratio: is for attention maps; add --attention"),
        *((f"TINY --attention --discard-ratio {bad}", "--discard-ratio: ") for bad in ("1", "-0.1", "nan")),
        *((f"TINY --resize {bad}", "--resize: ") for bad in ("abc", "0", "-5", "10x", "x", "1x2x3", "0x9", "2.5")),
        *((f"TINY --mean {bad}", "--mean: ") for bad in ("1,2", "1,2,3,4", "a,b,c", "0.5", "nan,0,0", "inf,0,0")),
        *((f"TINY --std {bad}", "--std: ") for bad in ("1,2", "0,1,1", "1,1,-1", "nan,1,1", "1,nan,1", "1,inf,1")),
        *((f"TINY --interpolation {bad}", "--interpolation: .*bicubic") for bad in ("area", "BICUBIC", "3")),
    ],
)
def test_options_that_make_no_sense(arguments, part, vit_export_cli, tiny_checkpoint, here, files_in):
    words = [str(tiny_checkpoint) if word == "TINY" else word for word in arguments.split()]
    refused(vit_export_cli(*words), 2, f"^error: {part}")
    assert files_in(here) == []


@pytest.mark.parametrize("option", ["--resize", "--mean", "--std", "--interpolation"])
def test_an_empty_value_is_refused(option, vit_export_cli, tiny_checkpoint):
    refused(vit_export_cli(tiny_checkpoint, option, ""), 2, f"^error: {option}: ")


@pytest.mark.parametrize(
    "words", [["--seed", "-1"], ["--heads", "0"], ["--image-size", "x"], ["--nonsense"], ["b", "c"]]
)
def test_values_that_the_option_itself_refuses(words, vit_export_cli, here, files_in):
    result = vit_export_cli("vit_b_16", *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert files_in(here) == []
