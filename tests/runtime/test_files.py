"""Folders give the pictures in them, and results appear complete or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from vit_runtime.errors import OutputFileError, VitEdgeError
from vit_runtime.files import atomic_write
from vit_runtime.sources.folders import pictures_below


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_pictures_below_a_folder_are_those_of_all_folders_in_it(tmp_path: Path):
    make_files(tmp_path, "b.jpg", "a/z.PNG", "a/a/y.webp", "a/notes.txt", "a/._z.jpg", "folder.jpg/c.jpg", "d.onnx")
    found = [path.relative_to(tmp_path).as_posix() for path in pictures_below(tmp_path)]
    assert found == ["a/a/y.webp", "a/z.PNG", "b.jpg", "folder.jpg/c.jpg"]


def test_no_pictures_below_a_folder(tmp_path: Path):
    make_files(tmp_path, "a/notes.txt")
    assert pictures_below(tmp_path) == []


@pytest.mark.parametrize(
    "other",
    [
        "manual.pdf",  # Pillow writes PDF, but does not read it
        "weights.h5",  # Pillow knows these two by name only
        "film.mpg",
        "._a.jpg",  # macOS leaves one beside each file on a USB stick or SD card, and it holds no picture
        ".hidden.jpg",
    ],
)
def test_other_files_of_a_folder_are_passed_over(other: str, tmp_path: Path):
    make_files(tmp_path, "a.jpg", other)
    assert names(pictures_below(tmp_path)) == ["a.jpg"]


def test_a_file_appears_when_it_is_complete(tmp_path: Path):
    path = tmp_path / "result.npy"
    with atomic_write(path) as file:
        file.write(b"result")
        assert not path.exists()
    assert path.read_bytes() == b"result"
    assert names(list(tmp_path.iterdir())) == ["result.npy"]


def test_a_file_is_readable_by_those_who_may_read_any_other_new_file(tmp_path: Path):
    """Not by its owner alone, as `mkstemp` makes it: another user or a web server is to read the result."""
    with atomic_write(tmp_path / "result.npy") as file:
        file.write(b"result")
    (tmp_path / "ordinary").write_bytes(b"")
    assert oct((tmp_path / "result.npy").stat().st_mode) == oct((tmp_path / "ordinary").stat().st_mode)


def fail_halfway(path: Path, error: BaseException) -> None:
    with atomic_write(path) as file:
        file.write(b"half of the new")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError(5, "Input/output error")])
def test_a_failure_leaves_the_old_file_and_no_other(error: BaseException, tmp_path: Path):
    """An error of the system inside the block is not the destination's: it may come from what is read there."""
    path = tmp_path / "result.npy"
    path.write_bytes(b"old")
    expected = error if isinstance(error, type) else type(error)
    with pytest.raises(expected) as caught:
        fail_halfway(path, error)
    assert not isinstance(caught.value, OutputFileError)
    assert path.read_bytes() == b"old"
    assert names(list(tmp_path.iterdir())) == ["result.npy"]


def test_a_full_disk_is_the_destinations(tmp_path: Path):
    """A limit of the size of files stands for the disk's end: writing fails in the same place."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with (
            pytest.raises(OutputFileError, match=r"result\.npy: cannot be written \(File too large\)"),
            atomic_write(tmp_path / "result.npy") as file,
        ):
            file.write(bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(list(tmp_path.iterdir())) == []


@pytest.mark.parametrize("place", ["missing/result.npy", "file/result.npy", "folder", "x" * 300])
def test_a_place_that_cannot_be_written_is_named(place: str, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputFileError) as caught, atomic_write(tmp_path / place) as file:
        file.write(b"result")
    assert isinstance(caught.value, VitEdgeError)
    assert isinstance(caught.value, OSError)
    assert f"{tmp_path / place}: cannot be written (" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("permissions_hold")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputFileError, match="Permission denied"), atomic_write(tmp_path / "result.npy"):
        pass
