"""Archives in the pipeline: a damaged member is one error in its place, and what lies behind it is answered."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vit_runtime as vit

Encode = Callable[..., bytes]
Run = Callable[..., Any]

COUNT = 80
DAMAGED = (5, 6, 40, 79)
"""In an archive of more pictures than are in the works at a time, so that the search waits behind some of them."""


@pytest.fixture(scope="module")
def pictures(encode: Encode) -> dict[str, bytes]:
    rng = np.random.default_rng(1)
    return {
        f"{number:03}.png": encode(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8), "PNG") for number in range(COUNT)
    }


def write_zip(path: Path, pictures: dict[str, bytes]) -> None:
    """Flips a bit in the content of some members; their checksums tell."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in pictures.items():
            archive.writestr(name, content)
        places = [archive.infolist()[number].header_offset for number in DAMAGED]
    content = bytearray(path.read_bytes())
    for place in places:
        content[place + 30 + len("000.png") + 200] ^= 1
    path.write_bytes(content)


def write_tar(path: Path, pictures: dict[str, bytes]) -> None:
    """Some members are no pictures."""
    with tarfile.open(path, "w") as archive:
        for number, (name, content) in enumerate(pictures.items()):
            member = tarfile.TarInfo(name)
            kept = content[:100] if number in DAMAGED else content
            member.size = len(kept)
            archive.addfile(member, io.BytesIO(kept))


WRITE = {"photos.zip": write_zip, "photos.tar": write_tar}


@pytest.mark.parametrize("options", [(), ("--batch", 8)], ids=["one by one", "batches"])
@pytest.mark.parametrize("kind", WRITE)
def test_no_picture_of_an_archive_is_lost_or_repeated(
    kind: str,
    options: tuple[Any, ...],
    vit_run: Run,
    tiny: vit.ViT,
    tiny_artifact: Path,
    pictures: dict[str, bytes],
    tmp_path: Path,
):
    WRITE[kind](path := tmp_path / kind, pictures)
    done = vit_run("embed", tiny_artifact, path, *options)
    assert done.exit_code == 1
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["image"] for record in records] == [f"{path}/{name}" for name in pictures]
    assert [number for number, record in enumerate(records) if "error" in record] == list(DAMAGED)
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [line.split(": ")[1] for line in told] == [f"{path}/{number:03}.png" for number in DAMAGED]
    for record, content in zip(records, pictures.values(), strict=True):
        if "error" not in record:
            np.testing.assert_allclose(record["embedding"], tiny.embed(content)[0], rtol=0, atol=1e-5)


def test_archives_among_other_pictures(
    vit_run: Run, tiny_artifact: Path, pictures: dict[str, bytes], photo: Path, tmp_path: Path
):
    """Two archives, one of them cut off in the middle, a folder and a file; gone on with in two steps."""
    write_zip(tmp_path / "a.zip", pictures)
    write_tar(tmp_path / "b.tar", pictures)
    with tarfile.open(tmp_path / "b.tar") as archive:
        cut = archive.getmembers()[COUNT // 2].offset_data + 200
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:cut])
    (folder := tmp_path / "folder").mkdir()
    for name in list(pictures)[:10]:
        (folder / name).write_bytes(pictures[name])
    words = [tmp_path / "a.zip", photo, tmp_path / "b.tar", folder, "-o", tmp_path / "classes.csv", "--top", 1]

    assert vit_run("classify", tiny_artifact, *words).exit_code == 1
    whole = (tmp_path / "classes.csv").read_bytes()
    names = [row[0] for row in csv.reader(whole.decode().splitlines())][1:]
    assert names == [
        *(f"{tmp_path}/a.zip/{name}" for name in pictures),
        str(photo),
        *(f"{tmp_path}/b.tar/{name}" for name in list(pictures)[: COUNT // 2]),
        f"{tmp_path}/b.tar",
        *(str(folder / name) for name in list(pictures)[:10]),
    ]

    half = whole[: len(whole) // 2]
    (tmp_path / "classes.csv").write_bytes(half)
    assert vit_run("classify", tiny_artifact, *words, "--resume").exit_code == 1
    assert (tmp_path / "classes.csv").read_bytes() == whole
