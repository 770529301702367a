"""Prepared copies: the same answers from a mapped file, and never from one that is not as it was made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import vit_runtime as vit
from vit_runtime.cache.copies import FoundCopy
from vit_runtime.devices import copying
from vit_runtime.devices.child import Child, ChildError
from vit_runtime.preparing import worker
from vit_runtime.selftest import waves

Run = Callable[..., Any]
Damage = Callable[[Path], None]
Usage = namedtuple("Usage", ["total", "used", "free"])

pytestmark = pytest.mark.usefixtures("own_cache")

PIXELS = np.stack([waves((32, 32), variant=variant) for variant in range(3)])


def answers(path: Path) -> list[bytes]:
    return [answer.tobytes() for answer in vit.load(path, threads=1).run(PIXELS)]


def weights_of(copy: Path) -> Path:
    return copy / "model.onnx.data"


@pytest.mark.parametrize("artifact", ["tiny_artifact", "dynamic_artifact", "attention_artifact"])
def test_a_copy_gives_the_same_answers_to_the_last_bit(artifact: str, request: pytest.FixtureRequest):
    path: Path = request.getfixturevalue(artifact)
    own = answers(path)
    made = vit.prepare(path)
    assert made.is_new
    assert made.bytes == sum(made.folder.joinpath(name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    model = vit.load(path, threads=1)
    assert model.prepared_copy == made.folder
    assert "prepared copy" not in model.note
    assert answers(path) == own


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_copy_is_mapped(tiny_artifact: Path):
    made = vit.prepare(tiny_artifact)
    with vit.load(tiny_artifact) as model:
        assert str(weights_of(made.folder)) in Path("/proc/self/maps").read_text()
        model.run(PIXELS)


def test_weights_in_a_file_of_their_own_are_copied_too(large_artifact: Path, tmp_path: Path):
    path = Path(shutil.copy(large_artifact, tmp_path))
    shutil.copy(large_artifact.with_suffix(".onnx.data"), tmp_path)
    own = answers(path)
    vit.prepare(path)
    assert vit.load(path).prepared_copy is not None
    assert answers(path) == own
    path.with_suffix(".onnx.data").unlink()
    with pytest.raises(vit.ArtifactError, match=r"big\.onnx\.data"):
        vit.load(path)


def test_the_second_time_nothing_is_made(tiny_artifact: Path):
    first, second = vit.prepare(tiny_artifact), vit.prepare(tiny_artifact)
    assert (first.is_new, second.is_new) == (True, False)
    assert (first.folder, first.bytes) == (second.folder, second.bytes)


def test_of_two_processes_one_makes_it(tiny_artifact: Path, own_cache: Path):
    program = f"import vit_runtime as vit; print(vit.prepare({str(tiny_artifact)!r}).is_new)"
    started = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(process.communicate()[0].strip() for process in started) == ["False", "False", "True"]
    assert len(list(own_cache.rglob("model.onnx"))) == 1


# What differs from what was made.


def cut(copy: Path) -> None:
    os.truncate(weights_of(copy), 100)


def touched(copy: Path) -> None:
    os.utime(weights_of(copy), ns=(0, 0))


def without_weights(copy: Path) -> None:
    weights_of(copy).unlink()


def other_graph(copy: Path) -> None:
    copy.joinpath("model.onnx").write_bytes(b"\x08\x07")


def odd_record(copy: Path) -> None:
    copy.joinpath("record.json").write_text("[" * 10_000)


def record_of_another_file(copy: Path) -> None:
    record = json.loads(copy.joinpath("record.json").read_text())
    copy.joinpath("record.json").write_text(json.dumps({**record, "digest": "0" * 64}))


def record_of_a_later_format(copy: Path) -> None:
    record = json.loads(copy.joinpath("record.json").read_text())
    copy.joinpath("record.json").write_text(json.dumps({**record, "format_version": 2}))


DAMAGES = [
    (cut, "model.onnx.data is not as it was when it was made"),
    (touched, "model.onnx.data is not as it was when it was made"),
    (without_weights, "model.onnx.data is not as it was when it was made"),
    (other_graph, "model.onnx is not as it was when it was made"),
    (odd_record, "its record is damaged"),
    (record_of_another_file, "it is another file's"),
    (record_of_a_later_format, "its record is damaged"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_what_differs_is_not_used_and_said_and_made_again(damage: Damage, said: str, tiny_artifact: Path):
    own = answers(tiny_artifact)
    copy = vit.prepare(tiny_artifact).folder
    damage(copy)
    model = vit.load(tiny_artifact)
    assert model.prepared_copy is None
    assert model.note == f"its prepared copy is not used: {said}; run vit-run prepare again"
    assert answers(tiny_artifact) == own
    assert vit.prepare(tiny_artifact).is_new
    assert (vit.load(tiny_artifact).prepared_copy, vit.load(tiny_artifact).note) == (copy, "")


def inverted(copy: Path) -> None:
    """Damages weights as a failing card does: size and time stay."""
    path, status = weights_of(copy), weights_of(copy).stat()
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_check_reads_the_whole_copy(vit_run: Run, tiny_artifact: Path):
    assert "copy " not in vit_run("check", tiny_artifact).stdout
    copy = vit.prepare(tiny_artifact).folder
    rows = dict(line.split(maxsplit=1) for line in vit_run("check", tiny_artifact).stdout.splitlines())
    assert rows["copy"] == "mapped, same bytes as when it was prepared"
    inverted(copy)
    result = vit_run("check", tiny_artifact)
    assert result.exit_code == 3
    assert "model.onnx.data is damaged; run vit-run prepare again" in result.stdout
    assert "FAIL: do not trust its answers; prepare its copy again" in result.stdout
    line = json.loads(vit_run("check", tiny_artifact, "--json").stdout)
    assert (line["passed"], line["copy"]) == (False, "model.onnx.data is damaged; run vit-run prepare again")
    assert vit.prepare(tiny_artifact).is_new
    assert vit_run("check", tiny_artifact).exit_code == 0


def test_verify_reads_the_whole_copy_and_goes_without_it(tiny_artifact: Path):
    inverted(vit.prepare(tiny_artifact).folder)
    model = vit.load(tiny_artifact, verify=True)
    assert model.prepared_copy is None
    assert "model.onnx.data is damaged" in model.note


def test_a_copy_that_onnxruntime_cannot_load_is_left_aside(tiny_artifact: Path):
    copy = vit.prepare(tiny_artifact).folder
    graph, status = copy / "model.onnx", copy.joinpath("model.onnx").stat()
    graph.write_bytes(b"\xff" * status.st_size)
    os.utime(graph, ns=(status.st_atime_ns, status.st_mtime_ns))
    model = vit.load(tiny_artifact)
    assert model.prepared_copy is None
    assert model.note.startswith("its prepared copy is not used: onnxruntime")
    assert model.note.endswith("run vit-run prepare again")


def test_another_onnxruntime_or_processor_has_no_use_for_it(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch):
    vit.prepare(tiny_artifact)
    here = onnxruntime.__version__
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "__version__", "99.0")
        said = f"onnxruntime was {here} then and is 99.0 now; run vit-run prepare again"
        assert vit.load(tiny_artifact).note == f"its prepared copy is not used: {said}"
    with monkeypatch.context() as patch:
        patch.setattr(copying, "processor_name", lambda: "Another")
        other = vit.load(tiny_artifact)
        assert (other.prepared_copy, other.note) == (None, "")
        assert vit.prepare(tiny_artifact).is_new
    assert vit.load(tiny_artifact).prepared_copy is not None


def test_what_the_caller_asks_of_onnxruntime_comes_first(tiny_artifact: Path):
    vit.prepare(tiny_artifact)
    model = vit.load(tiny_artifact, session_options={"session.disable_prepacking": "1"})
    assert (model.prepared_copy, model.note) == (None, "")


# What cannot be made leaves nothing.


def is_empty(cache: Path) -> bool:
    return not [path for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_disk_that_is_short_of_room(
    vit_run: Run, tiny_artifact: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 10**6, 10**6))
    result = vit_run("prepare", tiny_artifact)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {own_cache}: a copy needs ")
    assert ", and 1 MB are free; free some room, or name another folder by VIT_EDGE_CACHE" in result.stderr
    assert is_empty(own_cache)


def test_a_cache_folder_that_takes_no_files(vit_run: Run, tiny_artifact: Path, own_cache: Path):
    own_cache.write_text("a file")
    result = vit_run("prepare", tiny_artifact)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "cannot be written" in result.stderr
    assert vit.load(tiny_artifact).note == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), MemoryError()])
def test_an_end_on_the_way(error: BaseException, tiny_artifact: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    def written_in_part(_child: Child, paths: list[str]) -> None:
        Path(paths[1], "model.onnx").write_bytes(b"begun")
        raise error

    monkeypatch.setattr(Child, "ask", written_in_part)
    with pytest.raises(type(error)):
        vit.prepare(tiny_artifact)
    assert is_empty(own_cache)


def test_a_crash_takes_only_its_own_process(
    vit_run: Run, tiny_artifact: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As onnxruntime 1.31 and older crash over dynamic int8."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'vit_runtime.preparing.worker' in sys.argv[1:]:\n os.abort()"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = vit_run("prepare", tiny_artifact)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"error: {tiny_artifact}: no copy can be prepared: it crashed (SIGABRT); "
        "install the newest onnxruntime, or use the file without a copy\n"
    )
    assert is_empty(own_cache)


def test_what_a_killed_process_left_is_cleared_away(tiny_artifact: Path):
    copy = vit.prepare(tiny_artifact).folder
    left = copy.parent / ".vit-edge.killed"
    left.mkdir()
    left.joinpath("model.onnx.data").write_bytes(bytes(1000))
    vit.prepare(tiny_artifact)
    assert not left.exists()


def test_a_copy_that_answers_wrong_is_refused(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = worker.write_copy

    def with_wrong_weights(path: Path, folder: Path, precision: Any) -> FoundCopy:
        copy = write(path, folder, precision)
        inverted(folder)
        return copy

    monkeypatch.setattr(worker, "write_copy", with_wrong_weights)
    with pytest.raises(vit.ProviderError, match="fails the self-test"):
        worker.copy_and_try(tiny_artifact, tmp_path)


def test_an_onnxruntime_that_packs_nothing(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As before 1.21, which does not know the entry and ignores it."""
    entries = {key: value for key, value in copying._ENTRIES.items() if "prepacked" not in key}
    monkeypatch.setattr(copying, "_ENTRIES", entries)
    with pytest.raises(vit.ProviderError, match=r"keeps no packed weights; install onnxruntime 1\.21 or newer"):
        worker.copy_and_try(tiny_artifact, tmp_path)


def test_what_the_process_says_is_the_error(tiny_artifact: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    def says(_child: Child, _paths: list[str]) -> None:
        raise ChildError("it fails the self-test")

    monkeypatch.setattr(Child, "ask", says)
    with pytest.raises(vit.ProviderError, match="no copy can be prepared: it fails the self-test"):
        vit.prepare(tiny_artifact)
    assert is_empty(own_cache)


def test_a_damaged_file_is_not_copied(tiny_artifact: Path, own_cache: Path, tmp_path: Path):
    damaged = tmp_path / "damaged.onnx"
    content = bytearray(tiny_artifact.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(vit.ArtifactError, match="damaged or changed"):
        vit.prepare(damaged)
    assert is_empty(own_cache)
