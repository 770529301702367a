"""Reads a file of classes that are described in words: a class a line, and perhaps its prompts.

    # anything behind a hash is a remark
    parcel
    gate open: a photo of an open gate | a gate that stands open

A label by itself goes into the prompts of all classes. Behind a colon with white space after it stand prompts of the
class's own, with bars between them, and these take their place. `{}` in them stands for the label.
"""

from __future__ import annotations

import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vit_export.errors import ClassesError
from vit_export.request import PathLike
from vit_runtime.artifact import PLACE

_MOST_BYTES: Final = 1 << 20
"""Largest file read: ImageNet-21k's names have 0.6 MB, and what an artifact says of itself may have 8 MiB."""
_LONGEST_LABEL: Final = 255
_LONGEST_PROMPT: Final = 4095
"""Most characters, several times what a text tower reads. Labels are put into prompts, so both are bounded."""
_REMEDY: Final = "give a text file with a class a line: its label, or a label, a colon and prompts with | between them"
_REMARK: Final = "#"
_COLON: Final = re.compile(r":(?:\s+|$)")
_BAR: Final = "|"


@dataclass(frozen=True, kw_only=True)
class ClassWords:
    """A class as its line describes it."""

    label: str
    prompts: tuple[str, ...]
    """Prompts of its own; empty where it takes those of all classes."""

    def texts(self, templates: tuple[str, ...]) -> tuple[str, ...]:
        """What a text tower is to read for this class."""
        return tuple(prompt.replace(PLACE, self.label) for prompt in self.prompts or templates)


def read_classes(file: PathLike) -> tuple[ClassWords, ...]:
    """Reads the classes, in the order of their lines.

    Raises:
        ClassesError: the file is missing, too large, or no UTF-8 text; it names no class, or one twice; or a line is
            empty, or lacks a label or a prompt.
    """
    path = Path(file)
    found: list[ClassWords] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(_text(path).rstrip().splitlines(), start=1):
        if line.lstrip().startswith(_REMARK):
            continue
        words = _parsed(line, path, number)
        name = unicodedata.normalize("NFC", words.label)
        if name in lines:
            what = f"line {number} names '{_short(name)}' again, which is line {lines[name]}"
            raise ClassesError(
                path, what, f"give each class one line; more prompts of a class go behind it, with {_BAR}"
            )
        lines[name] = number
        found.append(words)
    if not found:
        raise ClassesError(path, "names no classes", _REMEDY)
    return tuple(found)


def _text(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ClassesError(path, "is no file", _REMEDY)
        if status.st_size > _MOST_BYTES:
            what = f"has {status.st_size:,} bytes; a file of classes has at most {_MOST_BYTES:,}"
            raise ClassesError(path, what, _REMEDY)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ClassesError(path, f"cannot be read ({error.strerror})", _REMEDY) from error
    except UnicodeDecodeError as error:
        raise ClassesError(path, "is no UTF-8 text", "save it as plain text in UTF-8") from error
    if "\0" in text:
        raise ClassesError(path, "is no text", "save it as plain text in UTF-8")
    return text


def _parsed(line: str, path: Path, number: int) -> ClassWords:
    if not line.strip():
        raise ClassesError(path, f"line {number} is empty", f"delete it, or begin it with {_REMARK}")
    label, *rest = _COLON.split(line.strip(), maxsplit=1)
    label = label.strip()
    if not label:
        raise ClassesError(path, f"line {number} has no label in front of its colon", _REMEDY)
    if len(label) > _LONGEST_LABEL:
        what = f"line {number} has a label of {len(label):,} characters; {_LONGEST_LABEL} are the most"
        raise ClassesError(path, what, "put a short label and a colon in front of it")
    prompts = tuple(prompt.strip() for part in rest for prompt in part.split(_BAR))
    if "" in prompts:
        what = f"line {number}: class '{_short(label)}' has an empty prompt"
        raise ClassesError(path, what, "write one there, or give the label alone")
    if (longest := max(map(len, prompts), default=0)) > _LONGEST_PROMPT:
        what = f"line {number} has a prompt of {longest:,} characters; {_LONGEST_PROMPT:,} are the most"
        raise ClassesError(path, what, "shorten it: a text tower reads some sixty words")
    return ClassWords(label=label, prompts=prompts)


def _short(label: str) -> str:
    return label if len(label) <= 40 else f"{label[:40]}..."
