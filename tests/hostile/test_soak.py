"""Twenty thousand pictures through one process: memory and open files are at the end what they were near the start."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.made_archives import tar_of, zip_of
from tests.made_pictures import blots

from .good_pictures import Good

PICTURES = 20_000
EACH = 500
"""In a folder and in each archive; they are named again and again."""
SETTLED = 2_000
"""Pictures after which memory must not grow any more."""
MOST_GROWTH = 20 << 20


@pytest.fixture
def sources(goods: list[Good], folder: Path) -> list[Path]:
    """A folder and three archives with the same pictures: photos, some in every format, and one in ten damaged."""
    (pictures := folder / "pictures").mkdir()
    for number in range(EACH):
        good = goods[number % len(goods)]
        if number % 10 == 3:
            (pictures / f"{number:03}{good.suffix}").write_bytes(good.content[: len(good.content) // 2])
        elif number % 10 == 7:
            (pictures / f"{number:03}{good.suffix}").write_bytes(good.content)
        else:
            blots(number, (500 + number % 50, 375)).save(pictures / f"{number:03}.jpg")
    contents = {path.name: path.read_bytes() for path in sorted(pictures.iterdir())}
    (folder / "a.tar").write_bytes(tar_of(contents))
    (folder / "a.tgz").write_bytes(tar_of(contents, mode="w:gz"))
    (folder / "a.zip").write_bytes(zip_of(contents))
    return [pictures, folder / "a.tar", folder / "a.tgz", folder / "a.zip"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of memory and open files")
def test_memory_and_open_files_stay_as_they_are(sources: list[Path], tiny_artifact: Path, folder: Path):
    target, log = folder / "results.jsonl", folder / "log"
    named = sources * (PICTURES // EACH // len(sources))
    words = [Path(sys.executable).with_name("vit-run"), "classify", tiny_artifact, *named, "-o", target, "--top", 1]
    seen: list[tuple[int, int, int]] = []
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(list(map(str, words)), stderr=errors)
    latest = time.monotonic() + 1_800
    while process.poll() is None and time.monotonic() < latest:
        seen += measured(process.pid, target)
        time.sleep(0.2)
    process.kill()
    assert process.wait() == 1  # for the damaged ones
    records = Counter(json.loads(line)["image"] for line in target.read_bytes().splitlines())
    assert set(records.values()) == {PICTURES // EACH // len(sources)}
    assert records.total() == PICTURES
    early, late = [[each for each in seen if low < each[0] <= low + SETTLED] for low in (SETTLED, PICTURES - SETTLED)]
    memory, files = [[max(each[which] for each in some) for some in (early, late)] for which in (1, 2)]
    assert memory[1] < memory[0] + MOST_GROWTH
    assert files[1] <= files[0]


def measured(process: int, results: Path) -> list[tuple[int, int, int]]:
    """Records so far, resident bytes and open files; nothing where the process has just ended or not begun."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
        files = sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
        records = results.read_bytes().count(b"\n")
        return [(records, int(status.split("VmRSS:")[1].split()[0]) << 10, files)]
    except (OSError, IndexError):
        return []
