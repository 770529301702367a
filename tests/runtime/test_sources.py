"""Pictures are found in folders and by patterns, each of them once, whatever lies between them."""

from __future__ import annotations

import glob
import os
import random
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path

import pytest

from vit_runtime.errors import ImageError
from vit_runtime.pictures.reading import read_rgb
from vit_runtime.sources.finding import find
from vit_runtime.sources.source import Found
from vit_runtime.waiting import WAITING

EMPTY = "a folder without pictures"
NOT_REGULAR = "is no regular file"


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")


def found(*paths: object, stdin: bytes | None = None) -> list[Found]:
    """All that is found; what is only waited for is left out."""
    stream = None if stdin is None else BytesIO(stdin)
    return [found for found in find(map(str, paths), stdin=stream) if found is not WAITING]


def names(findings: list[Found], folder: Path) -> list[str]:
    """The names of pictures below a folder; nothing but pictures may have been found."""
    assert [finding.error for finding in findings if finding.error] == []
    assert all(finding.source == Path(finding.name) for finding in findings)
    return [Path(finding.name).relative_to(folder).as_posix() for finding in findings]


def errors(findings: list[Found]) -> list[str]:
    failed = [finding for finding in findings if finding.error is not None]
    assert all(finding.source == b"" for finding in failed)
    return [str(finding.error) for finding in failed]


@pytest.fixture
def random_tree(tmp_path: Path) -> Path:
    """Some 300 files, whose names and folders sort in other ways as texts than as paths."""
    rng = random.Random(1)
    stems = ("a", "a b", "a-1", "B", "é", "10", "9", "a.b")
    for _ in range(400):
        folders = [rng.choice(stems) for _ in range(rng.randrange(4))]
        name = rng.choice(stems) + rng.choice((".jpg", ".PNG", ".txt", ".jpg.part"))
        path = tmp_path.joinpath("tree", *folders, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "tree"


def test_a_folder_gives_all_pictures_below_it_in_order_of_path(random_tree: Path):
    pictures = [path for path in random_tree.rglob("*") if path.suffix in (".jpg", ".PNG")]
    assert len(pictures) > 100
    assert [finding.source for finding in found(random_tree)] == sorted(pictures)


@pytest.mark.parametrize("pattern", ["*.jpg", "*/*.jpg", "**/a*.jpg", "a/**/*.PNG", "?/*/[!a]*.txt", "**/9/**/*.jpg"])
def test_a_pattern_gives_the_files_that_fit(pattern: str, random_tree: Path):
    """Compared with Python's own `glob`, which sorts nothing and can give a file twice."""
    fitting = {Path(path) for path in glob.glob(str(random_tree / pattern), recursive=True)}  # noqa: PTH207
    assert len(fitting) > 2
    assert [finding.source for finding in found(random_tree / pattern)] == sorted(fitting)


def test_hidden_files_and_folders_and_overlays_are_left_out(tmp_path: Path):
    make_files(tmp_path, "b.jpg", ".c.jpg", "._b.jpg", ".thumbs/d.jpg", "b.attention.png", "sub/a.jpg", "notes.txt")
    assert names(found(tmp_path), tmp_path) == ["b.jpg", "sub/a.jpg"]
    assert names(found(tmp_path / "**"), tmp_path) == ["b.jpg", "sub/a.jpg"]
    assert names(found(tmp_path / ".thumbs"), tmp_path) == [".thumbs/d.jpg"]
    assert names(found(tmp_path / ".t*" / "*"), tmp_path) == [".thumbs/d.jpg"]


def test_a_folder_that_fits_a_pattern_gives_its_pictures_once(tmp_path: Path):
    make_files(tmp_path, "x1/a.jpg", "x1/x2/b.jpg", "x1/x2/notes.txt", "y/c.jpg", "x3.bin")
    assert names(found(tmp_path / "x*"), tmp_path) == ["x1/a.jpg", "x1/x2/b.jpg", "x3.bin"]
    assert names(found(tmp_path / "**" / "x*"), tmp_path) == ["x1/a.jpg", "x1/x2/b.jpg", "x3.bin"]
    assert names(found(tmp_path / "**"), tmp_path) == ["x1/a.jpg", "x1/x2/b.jpg", "y/c.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path):
    make_files(tmp_path, "a[1].jpg", "a1.jpg")
    assert names(found(tmp_path / "a[1].jpg"), tmp_path) == ["a[1].jpg"]
    (tmp_path / "a[1].jpg").unlink()
    assert names(found(tmp_path / "a[1].jpg"), tmp_path) == ["a1.jpg"]


def test_a_pattern_that_nothing_fits(tmp_path: Path):
    make_files(tmp_path, "a.jpg")
    for pattern in (tmp_path / "b*.jpg", tmp_path / "missing" / "*.jpg", tmp_path / "a.jpg" / "*"):
        assert errors(found(pattern)) == [f"{pattern}: no such file, and none that fits it as a pattern"]


def test_paths_are_searched_in_the_order_given(tmp_path: Path):
    make_files(tmp_path, "z/a.jpg", "no_suffix", "b.jpg")
    findings = found(tmp_path / "z", tmp_path / "no_suffix", tmp_path / "b.jpg", tmp_path / "z")
    assert names(findings, tmp_path) == ["z/a.jpg", "no_suffix", "b.jpg", "z/a.jpg"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("missing.jpg", "no such file"), ("", "an empty path"), ("nul\0.jpg", "cannot be read")],
)
def test_a_path_that_leads_nowhere_is_told_by_whoever_reads_it(path: str, message: str):
    (finding,) = found(path)
    assert finding.error is None
    assert not isinstance(finding.source, bytes)
    with pytest.raises(ImageError, match=message):
        read_rgb(finding.source)


def test_a_folder_without_pictures(tmp_path: Path):
    make_files(tmp_path, "notes.txt", "sub/.hidden.jpg", "full/a.jpg")
    assert errors(found(tmp_path / "sub", tmp_path / "full")) == [
        f"{tmp_path}/sub: {EMPTY}; give one with .jpg or .png files in it"
    ]


def test_links_are_followed_and_circles_end(tmp_path: Path):
    make_files(tmp_path, "photos/a/1.jpg", "photos/b/2.jpg", "elsewhere/3.jpg")
    photos = tmp_path / "photos"
    (photos / "a" / "up").symlink_to(photos)  # a circle
    (photos / "a" / "self").symlink_to(photos / "a")
    (photos / "b" / "a").symlink_to(photos / "a")
    (photos / "c").symlink_to(tmp_path / "elsewhere")
    (photos / "d").symlink_to(tmp_path / "elsewhere")  # leads where c has led
    (photos / "e.jpg").symlink_to(tmp_path / "elsewhere" / "3.jpg")
    expected = ["a/1.jpg", "b/2.jpg", "b/a/1.jpg", "c/3.jpg", "e.jpg"]
    assert names(found(photos), photos) == expected
    assert names(found(photos / "**" / "*.jpg"), photos) == expected


def test_knotted_links_do_not_multiply(tmp_path: Path):
    """Without memory for links these would be followed in more than 10! ways."""
    folders = [tmp_path / f"{number:02}" for number in range(12)]
    for folder in folders:
        make_files(folder, "a.jpg")
    for folder in folders:
        for other in folders:
            (folder / f"to{other.name}").symlink_to(other)
    for path in (tmp_path, tmp_path / "**" / "a.jpg"):
        findings = found(path)
        assert {Path(finding.name).resolve() for finding in findings} == {folder / "a.jpg" for folder in folders}
        assert len(findings) <= 24


def test_what_is_no_regular_file_is_named_and_not_read(tmp_path: Path):
    make_files(tmp_path, "a.jpg", "z.jpg")
    os.mkfifo(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").symlink_to(tmp_path / "b.jpg")
    (tmp_path / "d.jpg").symlink_to("/dev/zero")
    (tmp_path / "e.jpg").symlink_to("missing")
    (tmp_path / "f.jpg").symlink_to("f.jpg")
    os.mkfifo(tmp_path / "no_picture")
    findings = found(tmp_path)
    assert errors(findings) == [f"{tmp_path / name}.jpg: {NOT_REGULAR}" for name in "bcdef"]
    assert names([finding for finding in findings if finding.error is None], tmp_path) == ["a.jpg", "z.jpg"]


def test_a_pipe_that_is_named_by_itself_is_not_opened(tmp_path: Path):
    os.mkfifo(pipe := tmp_path / "pipe")
    assert names(found(pipe), tmp_path) == ["pipe"]


@pytest.mark.usefixtures("permissions_hold")
def test_a_folder_that_may_not_be_read(tmp_path: Path):
    make_files(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    (tmp_path / "b").chmod(0)
    try:
        findings = found(tmp_path)
    finally:
        (tmp_path / "b").chmod(0o700)
    assert [finding.name for finding in findings] == [str(tmp_path / name) for name in ("a/1.jpg", "b", "c/3.jpg")]
    assert errors(findings) == [f"{tmp_path}/b: cannot be read (Permission denied)"]


def test_a_folder_that_fails_is_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_files(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    scan = os.scandir

    def fails_in_b(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", fails_in_b)
    findings = found(tmp_path)
    assert [finding.name for finding in findings] == [str(tmp_path / name) for name in ("a/1.jpg", "b", "c/3.jpg")]
    assert errors(findings) == [f"{tmp_path}/b: cannot be read (Permission denied)"]
    assert errors(found(tmp_path / "b")) == [f"{tmp_path}/b: cannot be read (Permission denied)"]


def test_a_folder_that_changes_while_it_is_read(tmp_path: Path):
    make_files(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg", "d.jpg", "e.jpg")
    findings = find([str(tmp_path)])
    assert next(findings) == Found(str(tmp_path / "a/1.jpg"), tmp_path / "a/1.jpg")
    (tmp_path / "b/2.jpg").unlink()
    (tmp_path / "b").rmdir()
    (tmp_path / "d.jpg").unlink()
    (tmp_path / "c" / "0.jpg").touch()
    rest = [finding for finding in findings if finding is not WAITING]
    assert errors(rest) == [f"{tmp_path}/b: cannot be read (No such file or directory)"]
    assert [finding.name for finding in rest[1:]] == [
        str(tmp_path / name) for name in ("c/0.jpg", "c/3.jpg", "d.jpg", "e.jpg")
    ]


def test_folders_that_are_deeper_than_a_path_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A recursion would end in Python's limit, and the system refuses paths of more than 4,096 bytes."""
    make_files(tmp_path, "z.jpg")
    monkeypatch.chdir(tmp_path)
    for _ in range(2100):
        os.mkdir("a")  # noqa: PTH102 - a path cannot lead there
        os.chdir("a")
    findings = found(tmp_path)
    for _ in range(2100):  # what pytest would use to clear up is a recursion
        os.chdir("..")
        os.rmdir("a")  # noqa: PTH106
    assert [finding.name for finding in findings][1:] == [str(tmp_path / "z.jpg")]
    assert "cannot be read (File name too long)" in errors(findings)[0]


def test_the_search_is_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_files(tmp_path, "a/1.jpg", "b/2.jpg")
    listed: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or scan(path))

    def paths() -> Iterator[str]:
        yield str(tmp_path)
        pytest.fail("asked for a second path before the first is done")

    assert len(list(islice(find(paths()), 1))) == 1
    assert listed == [tmp_path.name, "a"]
