"""Runs the `console` blocks of a guide: each command in one shell folder, against the service that the guide starts.

An answer that the guide shows has to be the one that is given, but for white space, `...` (anything), numbers with a
fraction (within a thousandth), and times (any number).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from markdown_it import MarkdownIt

_FRACTION: Final = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_ANY_NUMBER: Final = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)"
_TIMES: Final = ("milliseconds", "waiting", "reading", "model")
_ELIDED: Final = "..."


class Command(NamedTuple):
    """A command of a guide, and what the guide shows below it."""

    text: str
    shown: str


class Running(Protocol):
    """A service that listens."""

    port: int
    notes: list[str]


def fences(page: str, kind: str) -> list[str]:
    """The fenced blocks of a kind in a page of Markdown."""
    tokens = MarkdownIt("commonmark").parse(page)
    return [token.content for token in tokens if token.type == "fence" and token.info.strip() == kind]


def commands_of(page: str) -> Iterator[Command]:
    """The commands of the `console` blocks of a page, in order."""
    for block in fences(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            text, _, shown = part.partition("\n")
            yield Command(text, shown)


def is_as_shown(shown: str, given: str) -> bool:
    """Whether what was given is what a guide shows."""
    shown, given = ("".join(text.split()) for text in (shown, given))
    numbers: list[str] = []
    pattern = ""
    for part in re.split(r"(\.\.\.|-?\d+\.\d+(?:e-?\d+)?)", shown):
        if part == _ELIDED:
            pattern += ".*?"
        elif _FRACTION.fullmatch(part):
            pattern += _ANY_NUMBER
            numbers.append(part)
        else:
            pattern += re.escape(part)
        if any(pattern.endswith(f'"{name}":{_ANY_NUMBER}') for name in _TIMES):
            numbers[-1] = ""
    found = re.fullmatch(pattern, given)
    return found is not None and all(
        not number or abs(float(number) - float(each)) <= 1e-3
        for number, each in zip(numbers, found.groups(), strict=True)
    )


@dataclass
class Session:
    """A reader who follows a guide, in a folder; `start(*arguments)` starts `vit-run serve`."""

    folder: Path
    start: Callable[..., Running]
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    service: Running | None = None

    def follow(self, command: Command) -> str:
        """Does what a command says, and gives what went otherwise than it shows; empty for nothing."""
        if command.text.startswith("vit-run serve") and "open this in a browser" in command.shown:
            return self._serve(command)
        given = self._run(command.text)
        return "" if is_as_shown(command.shown, given) else f"$ {command.text}\nshows {command.shown}\ngave {given}"

    def _serve(self, command: Command) -> str:
        arguments = command.text.split()[2:]
        token = {name: value for name, value in self.environment.items() if name.startswith("VIT_EDGE_TOKEN")}
        self.service = self.start(*arguments, **token)
        shown, given = (_without_numbers(lines) for lines in (command.shown.splitlines(), self.service.notes))
        return "" if shown == given else f"$ {command.text}\nshows {shown}\ngave {given}"

    def _run(self, text: str) -> str:
        port = 8000 if self.service is None else self.service.port
        text = text.replace("localhost:8000", f"localhost:{port}").replace("curl ", "curl --no-progress-meter ")
        script = f"{text}\nstatus=$?; env -0 > {self.folder}/.environment; exit $status"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if text.startswith("vit-run serve") else subprocess.DEVNULL,
            text=True,
            timeout=120,
            check=False,
        )
        content = (self.folder / ".environment").read_text(encoding="utf-8")
        self.environment = dict(pair.split("=", 1) for pair in content.split("\0") if "=" in pair)
        return done.stdout


def _without_numbers(lines: list[str]) -> list[str]:
    """Ports, cores and threads are this machine's."""
    return [re.sub(r"\d+|threads?|(?<= )pictures? at a time", "N", line) for line in lines]
