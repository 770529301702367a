"""The device side runs without the workstation's packages, and says which package it misses.

Each test is a fresh interpreter in which importing certain packages fails, as on a device that lacks them.
"""

from __future__ import annotations

import importlib
import platform
from pathlib import Path

import pytest
from PIL import Image
from tests.without import WORKSTATION, run_without

import vit_runtime
from vit_runtime.arrays import UInt8Array
from vit_runtime.devices import crashes

COMMAND_LINE = ("typer", "rich", "pydantic")


def test_the_blocker_blocks():
    script = """
try:
    import torch.nn
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert run_without(WORKSTATION, script).strip() == "torch"


def test_a_model_answers_without_the_packages_of_the_workstation(tiny_artifact: Path):
    missing = (*WORKSTATION, *COMMAND_LINE)
    script = f"""
import numpy as np
import vit_runtime as vit
model = vit.load(sys.argv[1])
picture = np.zeros((40, 50, 3), np.uint8)
assert len(model.classify(picture, top_k=3)) == 3
assert model.embed([picture] * 3).shape == (3, 128)
assert vit.check(model).passed
print(sorted(set({missing}) & {{name.partition(".")[0] for name in sys.modules}}))
"""
    assert run_without(missing, script, tiny_artifact).strip() == "[]"


COMMANDS = {
    "classify": ("MODEL", "PICTURES"),
    "embed": ("MODEL", "PICTURES"),
    "similar": ("MODEL", "PICTURE", "PICTURES"),
    "index": ("MODEL", "PICTURES", "-o", "INDEX"),
    "search": ("PICTURES", "a red car", "--text", "TEXT", "--model", "PAIRED"),
    "attend": ("MODEL", "PICTURES", "-o", "OUTPUT"),
    "check": ("MODEL",),
    "info": ("MODEL",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_runs_without_the_packages_of_the_workstation(
    command: str, attention_artifact: Path, text_artifact: Path, paired: Path, picture: UInt8Array, tmp_path: Path
):
    script = """
from vit_runtime.cli import main
sys.argv = ["vit-run", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print(f"exit {end.code}")
"""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("one", "two"):
        Image.fromarray(picture).save(pictures / f"{name}.png")
    given = {
        "MODEL": attention_artifact,
        "PICTURES": pictures,
        "PICTURE": pictures / "one.png",
        "OUTPUT": tmp_path / "maps",
        "INDEX": tmp_path / "photos.index",
        "TEXT": text_artifact,
        "PAIRED": paired,
    }
    args = [given.get(word, word) for word in COMMANDS[command]]
    assert run_without(WORKSTATION, script, command, *args).splitlines()[-1] == "exit 0"


def test_importing_is_possible_without_onnxruntime_and_loading_says_how_to_get_it(tiny_artifact: Path):
    script = """
import vit_runtime as vit
print(vit.read_artifact(sys.argv[1]).model)
try:
    vit.load(sys.argv[1])
except vit.VitEdgeError as error:
    print(type(error).__name__, isinstance(error, ImportError), error)
"""
    model, message = run_without(("onnxruntime",), script, tiny_artifact).splitlines()
    assert model == "tiny"
    assert message == "MissingDependencyError True onnxruntime: not installed; run: pip install 'vit-edge[cpu]'"


def test_a_32_bit_system_is_told_what_it_lacks(tiny_artifact: Path):
    script = """
import vit_runtime as vit
sys.maxsize = 2**31 - 1
try:
    vit.load(sys.argv[1])
except vit.ProviderError as error:
    print(error)
"""
    expected = "onnxruntime: does not exist for 32-bit systems, and this is one; install the 64-bit system, where"
    assert run_without(("onnxruntime",), script, tiny_artifact).startswith(expected)


@pytest.mark.parametrize(
    ("machine", "features", "version", "refused"),
    [
        ("aarch64", "fp asimd crc32", "1.21.0", True),  # Cortex-A72 of a Raspberry Pi 4
        ("aarch64", "fp asimd crc32", "1.21.1", False),
        ("aarch64", "fp asimd asimdhp asimddp", "1.21.0", False),  # Cortex-A76 of a Raspberry Pi 5
        ("x86_64", "", "1.21.0", False),
    ],
)
def test_an_onnxruntime_that_crashes_on_this_core_is_named_before_it_does(
    machine: str, features: str, version: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"Features : {features}\nCPU part : 0xd08\n")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(crashes, "installed_version", lambda _: version)
    if not refused:
        crashes.check_release(tmp_path)
        return
    with pytest.raises(vit_runtime.ProviderError) as caught:
        crashes.check_release(tmp_path)
    assert str(caught.value) == (
        "onnxruntime 1.21.0: crashes on this processor (Cortex-A72, which has no dot product); "
        "run: pip install 'onnxruntime>=1.20,!=1.21.0'"
    )


def test_onnxruntime_is_imported_when_a_model_is_loaded(tiny_artifact: Path):
    script = """
import vit_runtime as vit
print("onnxruntime" in sys.modules)
vit.read_artifact(sys.argv[1])
print("onnxruntime" in sys.modules)
vit.load(sys.argv[1])
print("onnxruntime" in sys.modules)
"""
    assert run_without((), script, tiny_artifact).split() == ["False", "False", "True"]


def test_every_module_can_be_imported():
    """That it does not matter which comes first is import-linter's contract: no circle."""
    folder = Path(vit_runtime.__file__).parent
    modules = [".".join(file.relative_to(folder.parent).with_suffix("").parts) for file in folder.rglob("*.py")]
    script = """
import importlib
for module in sys.argv[1:]:
    importlib.import_module(module.removesuffix(".__init__"))
    print(module)
"""
    assert run_without(WORKSTATION, script, *modules).split() == modules
    assert len(modules) > 30


def test_all_names_what_there_is():
    public = {
        name
        for name, value in vars(vit_runtime).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("vit_runtime")
    }
    # Imported when they are asked for.
    later = {"Index", "Match", "create_index", "open_index", "TextCheck", "TextModel", "load_text"}
    rooms = ("vit_runtime.searching", "vit_runtime.texts")
    assert all(getattr(vit_runtime, name).__module__.startswith(rooms) for name in later)
    # Aliases of types have no module of ours.
    assert set(vit_runtime.__all__) == public | later | {"Decode", "ImageSource", "Provider", "__version__"}
    assert list(vit_runtime.__all__) == sorted(vit_runtime.__all__)


def test_every_error_that_a_user_can_meet_is_public():
    """Whoever wants to catch an error finds its class beside the function that raises it."""
    errors = importlib.import_module("vit_runtime.errors")
    raised = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    command_line_only = {"OutputFileError"}
    assert raised - command_line_only <= set(vit_runtime.__all__)
