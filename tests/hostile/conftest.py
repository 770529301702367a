"""What hostile input is made from: sound pictures, stand-ins for programs, and folders that are gone after the test."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .good_pictures import Good, good_pictures
from .stubs import Stubs

collect_ignore_glob = ["test_*.py"] if sys.platform == "win32" else []
"""Windows has neither limits of a process nor links and pipes among its files."""


@pytest.fixture(scope="session")
def goods() -> list[Good]:
    """Small sound pictures in every format that is read."""
    return good_pictures()


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    """Programs that leave a mark, for the front of PATH."""
    return Stubs(tmp_path / "stubs")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is gone after the test: pytest would keep thousands of files for three runs."""
    path = tmp_path / "folder"
    path.mkdir()
    yield path
    shutil.rmtree(path, ignore_errors=True)
