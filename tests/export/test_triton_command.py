"""`vit-export --triton`: what goes where, what is refused before the work, and that nothing half-written stays."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from tests.without import run_without

from vit_export import OutputFileError, write_repository

MISSING = ("torch", "torchvision", "onnx", "safetensors", "huggingface_hub")
"""What an export needs, and a finished file does not."""


@pytest.fixture(autouse=True)
def plain_lines(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


def test_an_export_goes_into_a_repository(vit_export_cli, tiny_checkpoint, folder, files_in):
    words = ["--target", "cpu,gpu", "-o", folder / "files", "--triton", folder / "new" / "repository"]
    result = vit_export_cli(tiny_checkpoint, *words)
    assert result.exit_code == 0, result.stderr
    names = ["files/tiny.onnx", "files/tiny.gpu.onnx", "new/repository/tiny", "new/repository/tiny_gpu"]
    assert result.stdout.splitlines() == [str(folder / name) for name in names]
    assert files_in(folder / "new") == [
        f"repository/{name}/{file}" for name in ("tiny", "tiny_gpu") for file in ("1/model.onnx", "config.pbtxt")
    ]


def test_a_finished_file_needs_no_torch(tiny_artifact, folder):
    script = """
from vit_export.cli import main
sys.argv = ["vit-export", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print(f"exit {end.code}")
"""
    missing = (
        "torch",
        "torchvision",
        "onnx",
        "safetensors",
        "huggingface_hub",
        "onnxruntime",
        "google",
        "tritonclient",
    )
    said = run_without(missing, script, tiny_artifact, "--triton", folder)
    assert said.splitlines() == [str(folder / "tiny"), "exit 0"]
    assert (folder / "tiny" / "1" / "model.onnx").read_bytes() == tiny_artifact.read_bytes()


def test_a_second_model_comes_beside_the_first(int8_artifacts, tiny_artifact, folder, files_in):
    write_repository(int8_artifacts["fp32"], folder)
    before = {name: (folder / name).read_bytes() for name in files_in(folder)}
    (folder / ".git").mkdir()
    (folder / "versions" / "3").mkdir(parents=True)
    write_repository(tiny_artifact, folder)
    assert {name: (folder / name).read_bytes() for name in files_in(folder)}.items() >= before.items()
    assert {path.name for path in folder.iterdir()} == {".git", "fp32", "tiny", "versions"}


def one_line(result: Any, exit_code: int) -> str:
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output
    (line,) = result.stderr.splitlines()
    return line


def test_a_model_that_is_there_is_replaced_by_force(vit_export_cli, tiny_artifact, int8_artifacts, folder, files_in):
    other = write_repository(int8_artifacts["dynamic"], folder)
    (folder / "tiny" / "7").mkdir(parents=True)
    (folder / "tiny" / "7" / "model.onnx").write_bytes(b"older")
    before = files_in(folder)
    refused = one_line(vit_export_cli(tiny_artifact, "--triton", folder), 1)
    assert refused == (
        f"error: {folder / 'tiny'}: exists already; add --force to replace it, or choose another --triton"
    )
    assert files_in(folder) == before
    result = vit_export_cli(tiny_artifact, "--triton", folder, "--force")
    assert (result.exit_code, result.stdout) == (0, f"{folder / 'tiny'}\n")
    assert files_in(folder / "tiny") == ["1/model.onnx", "config.pbtxt"]
    assert files_in(other) == ["1/model.onnx", "config.pbtxt"]


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("stranger", ["notes.txt", "photos/cat.jpg"])
def test_a_folder_with_other_things_is_refused_before_the_work(
    stranger, force, vit_export_cli, tiny_checkpoint, folder, files_in
):
    (folder / "home" / stranger).parent.mkdir(parents=True)
    (folder / "home" / stranger).touch()
    result = vit_export_cli(tiny_checkpoint, "-o", folder / "files", "--triton", folder / "home", *force)
    name = stranger.partition("/")[0]
    told = f"is not empty, and no model repository of Triton: it has '{name}'; choose another --triton"
    assert one_line(result, 1) == f"error: {folder / 'home'}: {told}"
    assert files_in(folder) == [f"home/{stranger}"]


def test_a_file_is_no_repository(vit_export_cli, tiny_artifact, folder):
    (folder / "file").touch()
    assert "file: is no folder; choose another --triton" in one_line(
        vit_export_cli(tiny_artifact, "--triton", folder / "file"), 1
    )
    assert "takes no files" in one_line(vit_export_cli(tiny_artifact, "--triton", folder / "file" / "below"), 1)


@pytest.mark.parametrize(
    "words",
    [["--precision", "int8"], ["--target", "gpu"], ["--target", "cpu,gpu"], ["--image-size", "64"], ["-o", "x"]],
)
def test_a_finished_file_takes_no_options_of_an_export(words, vit_export_cli, tiny_artifact, folder):
    line = one_line(vit_export_cli(tiny_artifact, "--triton", folder / "new", *words), 2)
    assert line.endswith("is exported already, and takes no options of an export; leave them out")
    assert not (folder / "new").exists()


def test_what_is_no_artifact_is_refused(vit_export_cli, tiny_artifact, folder):
    line = one_line(vit_export_cli(folder / "none.onnx", "--triton", folder / "new"), 1)
    assert f"{folder / 'none.onnx'}: no such file" in line
    (folder / "cut.onnx").write_bytes(tiny_artifact.read_bytes()[:-200])
    assert "cut.onnx: " in one_line(vit_export_cli(folder / "cut.onnx", "--triton", folder / "new"), 1)
    assert not (folder / "new").exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written_stays(error, tiny_artifact, int8_artifacts, folder, files_in, monkeypatch):
    write_repository(tiny_artifact, folder)
    before = {name: (folder / name).read_bytes() for name in files_in(folder)}

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("vit_export.triton.repository.shutil.copyfile", fail)
    for path, force in ((tiny_artifact, True), (int8_artifacts["fp32"], False)):
        with pytest.raises((OutputFileError, KeyboardInterrupt)):
            write_repository(path, folder, force=force)
        assert {name: (folder / name).read_bytes() for name in files_in(folder)} == before
        assert [path.name for path in folder.iterdir()] == ["tiny"]


def test_the_old_model_comes_back_where_the_new_one_cannot_be_moved(tiny_artifact, folder, files_in, monkeypatch):
    write_repository(tiny_artifact, folder)
    (folder / "tiny" / "2").mkdir()
    (folder / "tiny" / "2" / "old").touch()
    before, rename = files_in(folder), Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if Path(target) == folder / "tiny" and self.name == "tiny":
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputFileError, match="Permission denied"):
        write_repository(tiny_artifact, folder, force=True)
    assert files_in(folder) == before
