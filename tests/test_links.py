"""Every link of the Markdown pages leads somewhere."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent


def pages() -> list[Path]:
    """Every Markdown page of the project."""
    return sorted(page for pattern in ("*.md", "docs/**/*.md", "models/**/*.md") for page in ROOT.glob(pattern))


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    tokens = MarkdownIt("commonmark").parse(text)
    found: dict[str, int] = {}
    names = set()
    for opening, inline in itertools.pairwise(tokens):
        if opening.type == "heading_open":
            plain = "".join(child.content for child in inline.children or () if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            count = found[slug] = found.get(slug, -1) + 1
            names.add(f"{slug}-{count}" if count else slug)
    return names


def targets(text: str) -> Iterator[str]:
    """Where a page's links and pictures lead."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for child in token.children or ():
            if child.type in ("link_open", "image"):
                yield str(child.attrGet("href" if child.type == "link_open" else "src"))


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere; those to other hosts are not followed."""
    found = []
    for target in targets(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            found.append(target)
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_broken_links_and_anchors_would_be_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`, three!\n\n[a](#one-two-three) [b](#one) ![c](none.png) [d](page.md#x) [e](https://x.y)\n"
    )
    assert broken(page, page.read_text()) == ["#one", "none.png", "page.md#x"]
    assert anchors("# A b\n## A b\n") == {"a-b", "a-b-1"}
