"""Contenders in processes of their own: what a good one gives, and how bad ones end in one line.

Bad ones get a `sitecustomize` of their own, which Python runs before anything else.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import vit_runtime
from vit_bench.contenders.process import Finished, run_module, run_task
from vit_bench.contenders.task import PhotoAnswer, Task
from vit_bench.errors import ContenderError
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.selftest import waves

Sabotage = Callable[[str], dict[str, str]]
FAIL_LATE = """
import builtins, os, signal
printed, answers = builtins.print, []
def print(*values, **options):
    if len(answers) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    answers.append(values)
    printed(*values, **options)
builtins.print = print
"""


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(waves((60, 80))).save(path)
    return path


@pytest.fixture
def sabotage(tmp_path: Path) -> Sabotage:
    """An environment in which every Python runs some code first."""

    def environment(code: str) -> dict[str, str]:
        (tmp_path / "sitecustomize.py").write_text(code)
        path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
        return {**os.environ, "PYTHONPATH": path}

    return environment


def work(artifact: Path, *photos: Path, seconds: float = 0, each_photo: bool = False) -> Task:
    return Task(
        tool="vit-edge",
        file=str(artifact),
        artifact=str(artifact),
        photos=tuple(map(str, photos)),
        seconds=seconds,
        each_photo=each_photo,
    )


def failure(task: Task, environment: dict[str, str] | None = None, **options: Callable[[PhotoAnswer], None]) -> str:
    with pytest.raises(ContenderError) as caught:
        run_task("the contender", task, environment, **options)
    message = str(caught.value)
    assert message.startswith("the contender: ")
    assert message.splitlines() == [message]
    return message.removeprefix("the contender: ")


def is_alive(pid: int) -> bool:
    """A zombie that only waits for its parent is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def ends(pid: int) -> bool:
    """Whether a process that was killed is gone within seconds: on a busy machine it still has to be given its turn."""
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


with_signals = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends no process by a signal")


def test_a_process_that_hangs_is_ended_with_all_that_it_has_started(sabotage: Sabotage, tmp_path: Path):
    code = f"""
import pathlib, subprocess, sys, time
if "-c" not in sys.orig_argv:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(child.pid))
    time.sleep(60)
"""
    began = time.monotonic()
    with pytest.raises(ContenderError, match=r"^it: told nothing for 2 seconds and was ended$"):
        run_module("it", "vit_bench.contenders.worker", "{}", environment=sabotage(code), patience=2)
    assert time.monotonic() - began < 30
    assert ends(int((tmp_path / "pid").read_text()))


def test_a_process_that_tells_something_in_time_may_take_longer(sabotage: Sabotage):
    code = """
import os, time
for _ in range(4):
    print("vit-bench: still here", flush=True)
    time.sleep(0.7)
os._exit(0)
"""
    heard: list[str] = []
    run_module("it", "json.tool", "{}", heard.append, sabotage(code), patience=2)
    assert heard == ["still here"] * 4


# Processes that end well.


def test_a_first_answer_and_latencies(tiny_artifact: Path, photo: Path):
    finished = run_task("good", work(tiny_artifact, photo, seconds=0.01))
    assert finished.first_answer_seconds > 0
    measured = finished.measured
    for seconds in (measured.model_seconds, measured.photo_seconds):
        assert len(seconds) >= 3
        assert min(seconds) > 0
    assert measured.peak_bytes > 10_000_000
    assert measured.version == f"onnxruntime {onnxruntime.__version__}"
    model = vit_runtime.load(tiny_artifact, provider="cpu", threads=1)
    (logits,) = model.run(load_pixels(photo, model.artifact.preprocessing)[None], ["logits"])
    np.testing.assert_allclose(measured.scores, logits[0], rtol=1e-5, atol=1e-6)


def test_reading_the_photo_counts_for_the_whole_way_alone(tiny_artifact: Path, photo: Path, sabotage: Sabotage):
    """Here it takes half a second; the tiny model takes a thousandth of that."""
    code = """
import time
import PIL.ImageFile
load = PIL.ImageFile.ImageFile.load
def slowly(image):
    time.sleep(0.5)
    return load(image)
PIL.ImageFile.ImageFile.load = slowly
"""
    measured = run_task("slow reader", work(tiny_artifact, photo, seconds=0.01), sabotage(code)).measured
    assert min(measured.photo_seconds) >= 0.5 > min(measured.model_seconds)


def test_without_time_to_measure_only_the_first_answer(tiny_artifact: Path, photo: Path):
    measured = run_task("good", work(tiny_artifact, photo)).measured
    assert (measured.model_seconds, measured.photo_seconds) == ((), ())
    assert len(measured.scores) == 7


def test_an_answer_for_each_photo_in_order(tiny_artifact: Path, photo: Path, tmp_path: Path):
    """One that cannot be read gets an answer in words, and the others go on."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    Image.fromarray(255 - waves((50, 40))).save(tmp_path / "other.png")
    photos = [photo, tmp_path / "broken.jpg", tmp_path / "other.png"]
    found: list[PhotoAnswer] = []
    finished = run_task("good", work(tiny_artifact, *photos, each_photo=True), each=found.append)
    assert finished.first_answer_seconds == 0
    first, broken, last = found
    model = vit_runtime.load(tiny_artifact, provider="cpu", threads=1)
    for answer, path in ((first, photo), (last, tmp_path / "other.png")):
        assert answer.error == ""
        assert answer.classes == tuple(prediction.index for prediction in model.classify(path, top_k=5))
    assert broken.classes == ()
    assert str(tmp_path / "broken.jpg") in broken.error
    assert "\n" not in broken.error


@pytest.mark.parametrize(
    "chatter",
    [
        'print("Loading model... done")',
        'print("{half a document\\n\\n]")',
        'print("answered by nobody")',
        'print("42")',
        'print("[1, 2]")',
        'print(\'{"level": "info", "error": null}\')',
        'import os; os.write(1, b"caf\\xe9\\n")',
        'import sys; print("a warning", file=sys.stderr)',
    ],
    ids=["words", "half JSON", "almost our word", "a number", "a list", "an object", "Latin-1", "stderr"],
)
@pytest.mark.parametrize("each_photo", [False, True])
def test_chatter_of_libraries_is_no_result(
    chatter: str, each_photo: bool, tiny_artifact: Path, photo: Path, sabotage: Sabotage
):
    found: list[PhotoAnswer] = []
    task = work(tiny_artifact, photo, each_photo=each_photo)
    finished = run_task("talkative", task, sabotage(chatter), each=found.append if each_photo else None)
    assert finished.measured.version.startswith("onnxruntime ")
    assert len(found) == each_photo


# Processes that end badly.


def test_a_missing_model_is_said_in_the_workers_own_words(tmp_path: Path, photo: Path):
    message = failure(work(tmp_path / "missing.onnx", photo))
    assert message.startswith(f"{tmp_path / 'missing.onnx'}: ")
    assert "Traceback" not in message
    assert not message.startswith("error")


def test_a_missing_photo_is_too(tiny_artifact: Path, tmp_path: Path):
    assert failure(work(tiny_artifact, tmp_path / "missing.jpg")).startswith(f"{tmp_path / 'missing.jpg'}: ")


def test_of_a_traceback_its_last_line_is_said(tiny_artifact: Path, photo: Path, sabotage: Sabotage):
    code = "import json\ndef load(_): raise RuntimeError('first line\\nout of   luck\\n\\n')\njson.load = load"
    assert failure(work(tiny_artifact, photo), sabotage(code)) == "out of luck"


def test_a_last_line_of_any_length_and_bytes_is_shown_shortened(tiny_artifact: Path, photo: Path, sabotage: Sabotage):
    code = "import os\nos.write(2, b'\\xff' + b'x' * 100_000 + b'\\n \\n')\nos._exit(1)"
    message = failure(work(tiny_artifact, photo), sabotage(code))
    assert message.startswith("\ufffdxxx")
    assert len(message) <= 300


def test_a_silent_failure_is_named_by_its_status(tiny_artifact: Path, photo: Path, sabotage: Sabotage):
    assert failure(work(tiny_artifact, photo), sabotage("import os; os._exit(7)")) == "exit status 7"


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_words_of_a_process_come_as_they_are_whatever_its_pipes_write(
    encoding: str, tiny_artifact: Path, tmp_path: Path
):
    """A pipe takes cp1252 on Windows; here that is asked for."""
    task = work(tiny_artifact, tmp_path / "caf\u00e9 \u72ac.jpg")
    assert "caf\u00e9 \u72ac.jpg: " in failure(task, {**os.environ, "PYTHONIOENCODING": encoding})


@with_signals
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SIGKILL", "was ended by SIGKILL, as the system does where memory is short"),
        ("SIGTERM", "was ended by SIGTERM"),
    ],
)
def test_a_killed_process_is_named_by_its_signal(
    name: str, message: str, tiny_artifact: Path, photo: Path, sabotage: Sabotage
):
    environment = sabotage(f"import os, signal; os.kill(os.getpid(), signal.{name})")
    assert failure(work(tiny_artifact, photo), environment) == message


@with_signals
def test_a_process_that_is_killed_half_way_had_answered_until_then(
    tiny_artifact: Path, photo: Path, sabotage: Sabotage
):
    found: list[PhotoAnswer] = []
    task = work(tiny_artifact, *[photo] * 5, each_photo=True)
    assert failure(task, sabotage(FAIL_LATE), each=found.append).startswith("was ended by SIGKILL")
    assert len(found) == 3


def test_an_end_without_a_result_is_a_failure(tiny_artifact: Path, photo: Path, sabotage: Sabotage):
    code = "import os; os.write(1, b'answered\\n'); os._exit(0)"
    assert failure(work(tiny_artifact, photo), sabotage(code)) == "ended without a result"


def test_a_process_that_never_reads_a_long_task(tiny_artifact: Path, sabotage: Sabotage):
    """More than a pipe holds: writing it fails. A pipe that stayed open would be a warning, and so an error here."""
    task = work(tiny_artifact, *[Path("a" * 200)] * 5000)
    assert failure(task, sabotage("import os; os._exit(3)")) == "exit status 3"
    gc.collect()


def test_modules_end_badly_in_the_same_way():
    with pytest.raises(ContenderError) as caught:
        run_module("the contender", "vit_bench.no_such_module", "{}")
    message = str(caught.value)
    assert message.startswith("the contender: ")
    assert message.endswith("No module named vit_bench.no_such_module")
    run_module("the contender", "this", "{}")  # a module that prints much and ends well


# Ctrl-C.


def stop(_: PhotoAnswer) -> None:
    raise KeyboardInterrupt


def interrupted(task: Task, environment: dict[str, str]) -> Finished:
    return run_task("the contender", task, environment, each=stop)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_ctrl_c_leaves_no_process_behind(tiny_artifact: Path, photo: Path, sabotage: Sabotage, tmp_path: Path):
    environment = sabotage(f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))")
    with pytest.raises(KeyboardInterrupt):
        interrupted(work(tiny_artifact, *[photo] * 5000, each_photo=True), environment)
    assert ends(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_ctrl_c_leaves_no_process_of_the_process_behind(
    tiny_artifact: Path, photo: Path, sabotage: Sabotage, tmp_path: Path
):
    """torch.compile starts compilers, and workers that start them."""
    code = f"""
import os, subprocess
sleeper = subprocess.Popen(["sleep", "30"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
open({str(tmp_path / "pid")!r}, "w").write(str(sleeper.pid))
"""
    with pytest.raises(KeyboardInterrupt):
        interrupted(work(tiny_artifact, *[photo] * 5000, each_photo=True), sabotage(code))
    sleeper = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while (alive := is_alive(sleeper)) and time.monotonic() < deadline:
        time.sleep(0.05)  # it gets its signal in its own time
    if alive:
        os.kill(sleeper, 9)
    assert not alive
