"""An index whose writer is killed, interrupted, or not alone."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array

from .by_the_page import header_of, random_rows, read_index, unit

Run = Callable[..., Any]


def told(result: Any) -> str:
    """What the command said of its work, without the index's name."""
    return result.stderr.splitlines()[-1].partition(": ")[2]


GROWING = """
import sys
import numpy as np
import vit_runtime as vit
from vit_runtime.searching import writer
writer._MOST_WAITING = 3
index = vit.open_index(sys.argv[1])
for number in range(10**6):
    with index.writer() as adding:
        for name in range(40):
            adding.put(f"{name}", np.random.default_rng([number, name]).standard_normal(128, dtype=np.float32))
            adding.put(f"{number}, {name}", np.ones(128, np.float32))
            adding.remove(f"{number - 2}, {name}")
"""
"""Replaces rows, adds and drops others, and writes the index anew now and then, without an end."""

COMMAND = """
import sys
from vit_runtime.cli import main
from vit_runtime.searching import writer
writer._MOST_WAITING = 1
main()
"""


class TestInterrupted:
    @pytest.mark.parametrize("seed", range(4))
    def test_a_kill_at_any_moment_leaves_a_valid_index(self, seed: int, tiny_artifact: Path, tmp_path: Path):
        path = tmp_path / "killed"
        vit.create_index(path, tiny_artifact, int8=bool(seed % 2))
        for kill in range(4):
            with subprocess.Popen([sys.executable, "-c", GROWING, path]) as process:
                before = (path / "index.json").read_bytes()
                while (path / "index.json").read_bytes() == before:
                    assert process.poll() is None
                    time.sleep(0.01)
                time.sleep(random.Random(seed * 10 + kill).uniform(0, 0.4))
                process.kill()
            assert process.returncode == -signal.SIGKILL
            index = vit.open_index(path, verify=True)
            found = read_index(path)
            assert list(found) == index.names
            for name, row in found.items():  # of each name, what was put last or before: no mixture, no other's
                number, comma, _ = name.partition(", ")
                if comma:
                    np.testing.assert_allclose(row, 128**-0.5, atol=1e-3)
                else:
                    puts = (
                        np.random.default_rng([each, int(number)]).standard_normal(128, dtype=np.float32)
                        for each in range(900)
                    )
                    assert any(np.allclose(row, unit(put), atol=0.01) for put in puts)
        index.add(["last"], [np.ones(128, np.float32)])
        assert "last" in vit.open_index(path, verify=True).names

    def test_a_command_that_was_killed_is_finished_by_the_next(
        self, vit_run: Run, tiny: vit.ViT, tiny_artifact: Path, tmp_path: Path, picture: UInt8Array
    ):
        photos, path = tmp_path / "photos", tmp_path / "photos.index"
        photos.mkdir()
        for number in range(300):
            Image.fromarray(np.roll(picture, number, axis=1)).save(photos / f"{number:03}.png")
        counted, tries = 0, 0
        while counted < 250 and tries < 6:
            tries += 1
            command = [sys.executable, "-c", COMMAND, "index", tiny_artifact, photos, "-o", path]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
                while process.poll() is None and (not path.exists() or rows_in(path) < counted + 20):
                    time.sleep(0.002)
                process.kill()
            counted = rows_in(path)
            assert len(vit.open_index(path, tiny_artifact, verify=True)) == counted
        assert counted > 0
        result = vit_run("index", tiny_artifact, photos, "-o", path)
        assert told(result).startswith(
            f"{300 - counted} added, 0 updated, 0 dropped, {counted} unchanged; 300 pictures"
        )
        found = read_index(path)  # asserts, too, that no name comes twice
        assert sorted(found) == [f"photos/{number:03}.png" for number in range(300)]
        expected = unit(tiny.embed(sorted(photos.iterdir())))
        np.testing.assert_allclose(np.stack([found[name] for name in sorted(found)]), expected, atol=1e-5)

    def test_ctrl_c_keeps_what_was_computed(
        self,
        interruptible_popen: Callable[..., subprocess.Popen[str]],
        tiny_artifact: Path,
        tmp_path: Path,
        picture: UInt8Array,
    ):
        photos, path = tmp_path / "photos", tmp_path / "photos.index"
        photos.mkdir()
        for number in range(400):
            Image.fromarray(picture.repeat(8, axis=0).repeat(8, axis=1)).save(photos / f"{number:03}.png")
        command = [sys.executable, "-c", COMMAND, "index", tiny_artifact, photos, "-o", path]
        with interruptible_popen(command) as process:
            while not path.exists() or rows_in(path) < 10:
                assert process.poll() is None
                time.sleep(0.002)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
        *_, kept, last = stderr.splitlines()
        count = len(vit.open_index(path, verify=True))
        told = f"{count} pictures by tiny fp32, in float32"
        assert kept == f"{path}: {count} added, 0 updated, 0 dropped, 0 unchanged; {told}; run the same again to go on"
        assert last == f"stopped after {count} pictures"
        assert 10 <= count < 400


def rows_in(path: Path) -> int:
    """How many rows count at the moment."""
    try:
        return header_of(path)["rows"]
    except FileNotFoundError:
        return 0


def test_one_writer_at_a_time(index: vit.Index, vit_run: Run, tiny_artifact: Path, photo: Path):
    with index.writer():
        with pytest.raises(vit.OutputFileError, match=r"rows.index: another process writes to it; wait until that one"):
            index.add(["new"], random_rows(1, 128))
        result = vit_run("index", tiny_artifact, photo, "-o", index.path)
        assert result.exit_code == 1
        assert "another process writes to it" in result.stderr
        script = "import sys, vit_runtime as vit; vit.open_index(sys.argv[1]).add([], [])"
        done = subprocess.run([sys.executable, "-c", script, index.path], capture_output=True, text=True, check=False)
        assert "OutputFileError" in done.stderr
        assert len(vit.open_index(index.path)) == 40  # reading goes on
    index.add(["new"], random_rows(1, 128))
    assert len(index) == 41
