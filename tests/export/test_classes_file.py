"""A file of classes in words: how its lines are read, and what is refused of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vit_export.errors import ClassesError
from vit_export.heads.classes_file import ClassWords, read_classes

Parsed = list[tuple[str, tuple[str, ...]]]


def parsed(content: bytes | str, folder: Path) -> Parsed:
    path = folder / "classes.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [(words.label, words.prompts) for words in read_classes(path)]


def refused(content: bytes | str, folder: Path) -> str:
    with pytest.raises(ClassesError) as caught:
        parsed(content, folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'classes.txt'}: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 400
    return message


PLAIN = [("cat", ()), ("gate open", ())]
SAVED = {
    "plain": b"cat\ngate open",
    "newline at the end": b"cat\ngate open\n",
    "empty lines at the end": b"cat\ngate open\n\n \n",
    "byte order mark": b"\xef\xbb\xbfcat\ngate open\n",
    "Windows": b"cat\r\ngate open\r\n",
    "spaces around": b"  cat \n\tgate open\t\n",
    "remarks": b"# mine\ncat\n  # of the gate\ngate open\n#\n",
}


@pytest.mark.parametrize("case", SAVED)
def test_one_label_a_line_however_the_editor_saved_it(case: str, tmp_path: Path):
    assert parsed(SAVED[case], tmp_path) == PLAIN


LINES: dict[str, Parsed] = {
    "cat: a cat": [("cat", ("a cat",))],
    "cat:  a cat |the cat|  cats ": [("cat", ("a cat", "the cat", "cats"))],
    "cat:\ta {}: a pet": [("cat", ("a {}: a pet",))],
    "gate : the gate": [("gate", ("the gate",))],
    "12:30": [("12:30", ())],
    "https://example.org": [("https://example.org", ())],
    "C# | C++": [("C# | C++", ())],
    "a {0} %s \\n": [("a {0} %s \\n", ())],
    "街上的一辆红色汽车": [("街上的一辆红色汽车", ())],
    "犬: 犬の写真 | {}": [("犬", ("犬の写真", "{}"))],
    "سيارة حمراء": [("سيارة حمراء", ())],
}


@pytest.mark.parametrize("line", LINES)
def test_a_label_and_its_prompts(line: str, tmp_path: Path):
    assert parsed(line, tmp_path) == LINES[line]


def test_prompts_of_all_classes_are_for_those_without_their_own():
    assert ClassWords(label="cat", prompts=()).texts(("a {}", "{}, a {}")) == ("a cat", "cat, a cat")
    assert ClassWords(label="cat", prompts=("Tom", "my {}")).texts(("a {}",)) == ("Tom", "my cat")


REFUSED = {
    "a class twice": ("cat\ndog\n cat \n", "line 3 names 'cat' again, which is line 1; give each class one line"),
    "twice with prompts": ("cat\ndog\ncat: a cat", "line 3 names 'cat' again, which is line 1"),
    "twice in two spellings of one letter": ("café\ncafe\u0301", "line 2 names 'café' again, which is line 1"),
    "an empty line": ("cat\n\ndog", "line 2 is empty; delete it, or begin it with #"),
    "a line of spaces": ("cat\n \t\ndog", "line 2 is empty"),
    "an empty label": ("cat\n: a dog", "line 2 has no label in front of its colon"),
    "no prompt behind the colon": ("cat:\ndog", "line 1: class 'cat' has an empty prompt"),
    "an empty prompt": ("cat: a cat | | cats", "line 1: class 'cat' has an empty prompt; write one there"),
    "a bar at the end": ("cat: a cat |", "line 1: class 'cat' has an empty prompt"),
    "a label too long": (
        "cat\n" + "x" * 256,
        "line 2 has a label of 256 characters; 255 are the most; put a short label",
    ),
    "a prompt too long": ("cat: " + "{}" * 2048, "line 1 has a prompt of 4,096 characters; 4,095 are the most"),
    "an empty file": ("", "names no classes; give a text file with a class a line"),
    "only remarks": ("# cat\n#dog\n", "names no classes"),
    "only empty lines": ("\n\n", "names no classes"),
    "no UTF-8": ("Löwe".encode("latin-1"), "is no UTF-8 text; save it as plain text in UTF-8"),
    "UTF-16": ("cat\ndog".encode("utf-16-le"), "is no text; save it as plain text in UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no UTF-8 text"),
    "too large": (b"cat\n" * 300_000, "has 1,200,000 bytes; a file of classes has at most 1,048,576"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_file_of_classes(case: str, tmp_path: Path):
    content, complaint = REFUSED[case]
    assert complaint in refused(content, tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ClassesError, match="cannot be read \\(No such file or directory\\)"):
        read_classes(tmp_path / "none.txt")
    with pytest.raises(ClassesError, match="is no file"):
        read_classes(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ClassesError, match="is no file"):  # and is not waited for
            read_classes(tmp_path / "pipe")
