"""An index that is damaged, cut off or made up gives one line of error: nothing else, and nothing else is touched."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vit_runtime as vit
from vit_runtime.arrays import FloatArray

from .by_the_page import PARTS, header_of, seal, write_header, write_index

WIDTH = 8


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """An index of twenty rows, of which two were dropped."""
    rows = np.random.default_rng(1).standard_normal((20, WIDTH), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    write_index(path := tmp_path / "good.index", {f"folder/{number}.jpg": row for number, row in enumerate(rows)})
    vit.open_index(path).remove(["folder/3.jpg", "folder/7.jpg"])
    return path


def query() -> FloatArray:
    return np.ones(WIDTH, np.float32)


def refusal(path: Path, *, verify: bool = False) -> str:
    """The one line that opening and searching an index gives."""
    with pytest.raises(vit.IndexFileError) as caught:
        vit.open_index(path, verify=verify).search(query())
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path))
    assert len(message) < 300 + len(str(path))
    return message


def edit(file: Path, offset: int, data: bytes) -> None:
    content = bytearray(file.read_bytes())
    content[offset : offset + len(data)] = data
    file.write_bytes(content)


def test_the_good_one_is_good(good: Path):
    assert len(vit.open_index(good, verify=True).search(query(), 99)) == 18


@pytest.mark.parametrize("part", PARTS)
def test_a_file_that_is_cut_off_or_missing(part: str, good: Path):
    file = good / f"{part}-1.bin"
    file.write_bytes(file.read_bytes()[:-1])
    assert f"damaged: {part}-1.bin is cut off" in refusal(good)
    file.unlink()
    assert f"damaged: {part}-1.bin is missing" in refusal(good)


@pytest.mark.parametrize("part", PARTS)
def test_every_flipped_byte_is_found(part: str, good: Path):
    file = good / f"{part}-1.bin"
    content = file.read_bytes()
    for offset in range(len(content)):
        edit(file, offset, bytes([content[offset] ^ 0x10]))
        assert "damaged: " in refusal(good, verify=part == "vectors")
        file.write_bytes(content)


def test_every_flipped_byte_of_the_header_is_found(good: Path):
    content = (good / "index.json").read_bytes()
    for offset in range(len(content)):
        edit(good / "index.json", offset, bytes([content[offset] ^ 0x01]))
        assert "index.json" in (message := refusal(good)) or "format version" in message or "byte order" in message
        (good / "index.json").write_bytes(content)


def test_every_length_of_the_header_is_refused(good: Path):
    content = (good / "index.json").read_bytes()
    for length in range(len(content)):
        (good / "index.json").write_bytes(content[:length])
        assert "index.json" in refusal(good)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 7.0])
def test_a_row_that_no_writer_wrote(value: float, good: Path):
    edit(good / "vectors-1.bin", 4 * (5 * WIDTH + 2), np.float32(value).tobytes())
    seal(good)
    assert "damaged: row 5 has not length 1" in refusal(good)


def test_a_row_in_the_other_byte_order(good: Path):
    rows = np.fromfile(good / "vectors-1.bin", "<f4")
    rows.astype(">f4").tofile(good / "vectors-1.bin")
    seal(good, byte_order="big")
    assert "byte order 'big', not 'little'" in refusal(good)


HEADERS: dict[str, dict[str, Any]] = {
    "version": {"format_version": 2},
    "a version that is no number": {"format_version": "1" * 5000},
    "another format": {"format": "npy"},
    "width 0": {"width": 0},
    "width too large": {"width": 65_537},
    "a wider row": {"width": WIDTH + 1},
    "a width that is a bool": {"width": True},
    "a width that is no integer": {"width": 8.0},
    "more rows": {"rows": 21},
    "fewer rows": {"rows": 19},
    "rows without end": {"rows": 10**30},
    "all rows that may be": {"rows": 1 << 32},
    "negative rows": {"rows": -1},
    "names too short": {"name_bytes": 10},
    "names too long": {"name_bytes": 1 << 40},
    "more dropped": {"dropped": 3},
    "another generation": {"generation": 2},
    "a generation that leads away": {"generation": "../1"},
    "numbers": {"numbers": "float16"},
    "int8 that is float32": {"numbers": "int8", "width": 4 * WIDTH},
    "no SHA-256": {"model": "tiny"},
    "a model that is a list": {"model": [1]},
    "a long name": {"model_name": "m" * 5000},
    "a name of another kind": {"model_name": None},
    "no sums": {"crc32": None},
    "sums of another kind": {"crc32": dict.fromkeys(PARTS, "0")},
    "other sums": {"crc32": dict.fromkeys(PARTS, 0)},
    "a key too many": {"more": 1},
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_says_something_else(case: str, good: Path):
    write_header(good, header_of(good) | HEADERS[case])
    refusal(good)


@pytest.mark.parametrize("content", [b"[" * 16_000, b"1", b"[]", b"null", b"{}", b"\xff", b"9" * 9000, b"x" * 99_999])
def test_a_header_that_is_none(content: bytes, good: Path):
    write_header(good, content)
    assert "its index.json is none of a vit-edge index" in refusal(good)


def test_a_header_without_a_key(good: Path):
    for key in (document := header_of(good)):
        write_header(good, {other: value for other, value in document.items() if other != key})
        refusal(good)


@pytest.mark.parametrize(
    ("part", "offset", "data", "message"),
    [
        ("entries", 24 * 4, (0).to_bytes(8, "little"), "names have impossible lengths"),
        ("entries", 24 * 4, (2**64 - 1).to_bytes(8, "little"), "names have impossible lengths"),
        ("entries", 24 * 19, (10**6).to_bytes(8, "little"), "names have impossible lengths"),
        ("dropped", 0, (20).to_bytes(8, "little"), "rows were dropped that are not there"),
        ("dropped", 0, (2**63).to_bytes(8, "little"), "rows were dropped that are not there"),
        ("dropped", 0, (7).to_bytes(8, "little"), "rows were dropped that are not there"),
    ],
)
def test_numbers_that_cannot_be(part: str, offset: int, data: bytes, message: str, good: Path):
    """The checksums are right: somebody made this up."""
    edit(good / f"{part}-1.bin", offset, data)
    seal(good)
    assert f"damaged: {message}" in refusal(good)


def test_a_scale_that_no_writer_wrote(tiny_artifact: Path, tmp_path: Path):
    made = vit.create_index(tmp_path / "small", tiny_artifact, int8=True)
    made.add(["a", "b"], np.random.default_rng(0).standard_normal((2, 128), dtype=np.float32))
    edit(made.path / "vectors-1.bin", 132, np.float32(np.nan).tobytes())
    seal(made.path)
    with pytest.raises(vit.IndexFileError, match="damaged: row 1 has not length 1"):
        vit.open_index(made.path, verify=True).search(np.ones(128, np.float32))


@pytest.mark.parametrize("name", ["index.json", *(f"{part}-1.bin" for part in PARTS), "lock", "index.json.new"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_no_file_leads_elsewhere(name: str, kind: str, good: Path, tmp_path: Path):
    """A link in an index that somebody else has made would let the next `vit-run index` write over a file of ours."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such links and pipes")
    mine = tmp_path / "mine"
    mine.write_bytes((good / name).read_bytes() if (good / name).exists() else b"mine")
    before = mine.read_bytes()
    (good / name).unlink(missing_ok=True)
    if kind == "link":
        (good / name).symlink_to(mine)
    elif kind == "pipe":
        os.mkfifo(good / name)
    else:
        (good / name).mkdir()
    row = np.ones(WIDTH, np.float32)
    if name == "index.json.new" and kind != "folder":  # is replaced before it is written
        vit.open_index(good).add(["new"], [row])
    else:
        with pytest.raises(vit.VitEdgeError) as caught:
            vit.open_index(good).add(["new"], [row])
        assert len(str(caught.value).splitlines()) == 1
    assert mine.read_bytes() == before


def test_what_is_behind_the_end_does_not_count(good: Path):
    """So a writer that was killed leaves its files."""
    for part in PARTS:
        with (good / f"{part}-1.bin").open("ab") as file:
            file.write(b"\xff" * 1000)
    (good / "vectors-2.bin").write_bytes(b"of a copy that was not finished")
    (good / "index.json.new").write_bytes(b"{")
    index = vit.open_index(good, verify=True)
    assert len(index.search(query(), 99)) == 18
    index.add(["new"], [query()])
    assert vit.open_index(good, verify=True).search(query(), 1)[0].name == "new"
    assert len(list(good.iterdir())) == 6


@pytest.mark.parametrize("kind", ["nothing", "a file", "an empty folder", "a folder of photos"])
def test_what_is_no_index(kind: str, tmp_path: Path):
    path = tmp_path / "photos.index"
    if kind == "a file":
        path.write_bytes(b"index")
    elif kind != "nothing":
        path.mkdir()
        if kind == "a folder of photos":
            (path / "photo.jpg").write_bytes(b"")
    message = refusal(path)
    assert {"nothing": "no such index", "a file": "cannot be read"}.get(kind, "it has no index.json") in message


def test_an_index_that_cannot_be_made(tiny_artifact: Path, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "missing" / "photos.index", tmp_path / "file"):
        with pytest.raises(vit.OutputFileError, match=r"cannot be written \((No such file or directory|File exists)\)"):
            vit.create_index(path, tiny_artifact)
    vit.create_index(tmp_path / "made", tiny_artifact)
    with pytest.raises(vit.OutputFileError, match=r"made: exists already; add force=True to replace it"):
        vit.create_index(tmp_path / "made", tiny_artifact)


def test_a_damaged_index_is_replaced_with_force(tiny_artifact: Path, good: Path):
    (good / "index.json").write_bytes(b"{")
    made = vit.create_index(good, tiny_artifact, force=True)
    made.add(["new"], [np.ones(128, np.float32)])
    assert vit.open_index(good, tiny_artifact, verify=True).names == ["new"]


def test_the_commands_say_it_in_one_line(vit_run: Callable[..., Any], tiny_artifact: Path, good: Path, photo: Path):
    seal(good, width=9)
    for words in (("index", tiny_artifact, photo, "-o", good), ("similar", tiny_artifact, photo, "--index", good)):
        result = vit_run(*words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"error: {good}: ")
        assert result.stderr.count("\n") == 1


def test_names_are_printed_and_not_obeyed(
    vit_run: Callable[..., Any], tiny_artifact: Path, photo: Path, tmp_path: Path
):
    made = vit.create_index(tmp_path / "made", tiny_artifact)
    rows = np.random.default_rng(0).standard_normal((4, 128), dtype=np.float32)
    made.add(["\x1b[2J.png", "a\nb.png", "nul\0.png", "../../../../etc/passwd"], rows)
    result = vit_run("similar", tiny_artifact, photo, "--index", made.path)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 4
    assert "\\x1b[2J.png" in result.stdout
    assert "\x1b" not in result.stdout


FUZZ = """
import resource, sys
import numpy as np
import vit_runtime as vit
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
for line in sys.stdin:
    try:
        index = vit.open_index(line.rstrip("\\n"))
        index.search(np.ones(index.width, np.float32), 9)
        index.names
        print("read")
    except vit.IndexFileError as error:
        print("refused", error)
"""


def test_random_damage_gives_an_answer_or_our_error(good: Path, tmp_path: Path):
    """In a process of its own, with little memory; the checksums are made right in every second try."""
    folders = []
    for seed in range(200):
        rng, folder = random.Random(seed), tmp_path / f"{seed}.index"
        shutil.copytree(good, folder)
        file = folder / rng.choice(["index.json", *(f"{part}-1.bin" for part in PARTS)])
        content = bytearray(file.read_bytes())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(content))
            content[at : at + rng.choice([0, 1, 1, 8])] = rng.randbytes(rng.choice([0, 1, 1, 8]))
        file.write_bytes(content)
        if seed % 2 and file.name != "index.json":
            seal(folder)
        folders.append(folder)
    room = 3 << 30  # addresses, which NumPy's BLAS takes a lot of
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FUZZ, str(room)],
        input="\n".join(map(str, folders)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 200
    assert {"read", "refused"} == {line.split()[0] for line in done.stdout.splitlines()}


def test_a_sparse_giant_takes_no_memory(good: Path):
    """Holes cost nothing on the disk: a header may count more rows than fit into memory."""
    rows = 1 << 30
    for part, size in (("vectors", rows * WIDTH * 4), ("entries", rows * 24), ("names", rows * 8)):
        try:
            os.truncate(good / f"{part}-1.bin", size)
        except OSError:
            pytest.skip("this disk has no holes")
    write_header(good, header_of(good) | {"rows": rows, "name_bytes": rows * 8})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "names have impossible lengths" in refusal(good)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
