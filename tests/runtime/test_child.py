"""Processes for what may crash: however one ends, its parent hears why in a few words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vit_runtime.devices.child import Child, ChildError

ENDS = {
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": r"^it crashed \(SIGSEGV\)$",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": r"^it was killed \(SIGKILL\): is memory short\?$",
    "import os, signal; os.kill(os.getpid(), 36)": r"^it crashed \((signal 36|SIG\w+)\)$",
    "raise SystemExit": r"^its process ended \(exit status 0x0\)$",
    "import os; os.write(1, b'{\"half'); os._exit(7)": r"^its process ended \(exit status 0x7\)$",
    "raise MemoryError": "^MemoryError$",
    "import time; time.sleep(60)": "^it answered nothing for 1 s$",
}
MODULE = """
from vit_runtime.devices.child import Answers

def main():
    answers = Answers()
    with answers.report_errors():
        for document in answers.asked():
            {code}
            answers.answer(document)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that a child can run."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "what_a_child_does.py"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize("code", ENDS)
def test_however_a_child_ends_it_is_said(code: str, module: Path):
    module.write_text(MODULE.format(code=code), encoding="utf-8")
    child = Child(module.stem, patience=1 if "sleep" in code else 30)
    with pytest.raises(ChildError, match=ENDS[code]):
        child.ask({"a": 1})
    with pytest.raises(ChildError):
        child.ask({"a": 1})
    child.close()
    child.close()


def test_what_a_library_prints_does_not_get_between_the_answers(module: Path):
    module.write_text(MODULE.format(code="import os; print('noise'); os.write(1, b'more noise')"), encoding="utf-8")
    child = Child(module.stem)
    assert [child.ask(document) for document in ([1], {"a": "ä"}, None)] == [[1], {"a": "ä"}, None]
    child.close()


def test_nothing_in_the_current_folder_is_imported(tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch):
    module.write_text(MODULE.format(code="import this_is_here"), encoding="utf-8")
    (folder := tmp_path / "folder").mkdir()
    (folder / "this_is_here.py").write_text("", encoding="utf-8")
    monkeypatch.chdir(folder)
    child = Child(module.stem)
    with pytest.raises(ChildError, match="No module named 'this_is_here'"):
        child.ask(1)
    child.close()
