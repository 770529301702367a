"""Nothing is taken from a cache folder that another user could have written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import vit_runtime as vit

pytestmark = pytest.mark.usefixtures("own_cache")
only_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_folder_that_others_may_write_to_is_not_trusted(level: int, tiny_artifact: Path):
    copy = vit.prepare(tiny_artifact).folder
    folder = (copy, *copy.parents)[level]
    folder.chmod(0o777)
    model = vit.load(tiny_artifact)
    assert model.prepared_copy is None
    assert model.note == f"its prepared copy is not used: other users may write to {folder}"
    if level:
        with pytest.raises(vit.OutputFileError, match="other users may write to"):
            vit.prepare(tiny_artifact)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_nor_one_below_a_folder_that_everybody_may_write_to(tiny_artifact: Path, own_cache: Path):
    vit.prepare(tiny_artifact)
    own_cache.parent.chmod(0o777)
    assert "other users may write to" in vit.load(tiny_artifact).note
    own_cache.parent.chmod(0o1777)  # as /tmp: nobody else can rename what is ours there
    assert vit.load(tiny_artifact).note == ""


@only_root
def test_nor_one_that_a_group_may_write_to_unless_it_is_the_users_own(tiny_artifact: Path):
    """A volume of a container has the group of the process; distributions give each user a group of the same number."""
    copy = vit.prepare(tiny_artifact).folder
    copy.chmod(0o2770)
    assert vit.load(tiny_artifact).prepared_copy == copy
    os.chown(copy, 0, 1234)
    copy.chmod(0o2770)
    assert vit.load(tiny_artifact).note.endswith(f"other users may write to {copy}")


@only_root
def test_nor_one_that_belongs_to_another_user(tiny_artifact: Path):
    copy = vit.prepare(tiny_artifact).folder
    os.chown(copy / "model.onnx.data", 1234, 1234)
    assert vit.load(tiny_artifact).note.endswith("model.onnx.data belongs to another user")


def test_nor_one_behind_a_link(tiny_artifact: Path, tmp_path: Path):
    copy = vit.prepare(tiny_artifact).folder
    copy.rename(tmp_path / "elsewhere")
    copy.symlink_to(tmp_path / "elsewhere")
    assert vit.load(tiny_artifact).note.endswith(f"{copy} is a link")
