"""Links, pictures and anchors of the Markdown pages lead to files that git knows, and to headings that are there."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
HTML_LINK = re.compile(r"""<(?:a|img)\b[^>]*?\s(?:href|src)\s*=\s*["']([^"']*)["']""", re.IGNORECASE)
HTML_ANCHOR = re.compile(r"""<\w+\b[^>]*?\s(?:id|name)\s*=\s*["']([^"']*)["']""", re.IGNORECASE)


def parsed(text: str) -> list[Token]:
    """A page's blocks. GitHub reads tables besides what CommonMark knows; code is not searched for links."""
    return MarkdownIt("commonmark").enable("table").parse(text)


def targets(text: str) -> Iterator[tuple[int, str]]:
    """Line and target of each link and picture, those in HTML too; the line is where the paragraph or row begins."""
    for block in parsed(text):
        line = 0 if block.map is None else block.map[0] + 1
        for token in (block, *(block.children or ())):
            if token.type in ("link_open", "image"):
                yield line, str(token.attrs["href" if token.type == "link_open" else "src"])
            elif token.type in ("html_block", "html_inline"):
                yield from ((line, target) for target in HTML_LINK.findall(token.content))


def anchors(text: str) -> set[str]:
    """The anchors of a page: of its headings, as GitHub makes them, and those in HTML.

    GitHub takes a heading's text in lower case, drops what is no letter, digit, underscore, hyphen or space, and writes
    hyphens for spaces. The second heading of the same name gets `-1`, the third `-2`.
    """
    found: set[str] = set()
    same: Counter[str] = Counter()
    tokens = parsed(text)
    for position, block in enumerate(tokens):
        for token in (block, *(block.children or ())):
            if token.type in ("html_block", "html_inline"):
                found.update(HTML_ANCHOR.findall(token.content))
        if block.type == "heading_open":
            shown = (child for child in tokens[position + 1].children or () if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", "".join(child.content for child in shown).lower()).replace(" ", "-")
            found.add(f"{slug}-{same[slug]}" if same[slug] else slug)
            same[slug] += 1
    return found


@dataclass(frozen=True)
class Tree:
    """A folder, and which of its files are in the repository: paths as git writes them."""

    root: Path
    files: frozenset[str]

    def text(self, page: str) -> str:
        return (self.root / page).read_text(encoding="utf-8")

    def broken(self, page: str) -> list[str]:
        """What is wrong with a page's links, a line each. Links to other hosts are not followed."""
        faults = ((line, target, self._fault(page, target)) for line, target in targets(self.text(page)))
        return [f"{page}:{line}: {target}: {fault}" for line, target, fault in faults if fault]

    def _fault(self, page: str, target: str) -> str:
        url = urlsplit(target)
        if url.scheme or url.netloc:
            return ""
        if url.path.startswith("/"):
            return "does not begin at the page's own folder"
        file = self._file(page, unquote(url.path)) if url.path else page
        if file is None:
            return "leads out of the repository"
        folder = file == "." or any(path.startswith(f"{file}/") for path in self.files)
        if not folder and file not in self.files:
            return "is not in the repository"
        if url.fragment and (folder or not file.endswith(".md")):
            return "only Markdown pages have anchors"
        return "" if not url.fragment or unquote(url.fragment) in anchors(self.text(file)) else "no such heading"

    @staticmethod
    def _file(page: str, path: str) -> str | None:
        """A path from the root of the tree; None where it lies outside."""
        parts: list[str] = []
        for part in (PurePosixPath(page).parent / path).parts:
            if part == ".." and not parts:
                return None
            parts = parts[:-1] if part == ".." else [*parts, part]
        return "/".join(parts) or "."


def repository() -> Tree:
    """This repository, with new files that git does not ignore: they are there once they are committed."""
    if not (ROOT / ".git").exists():
        return Tree(ROOT, frozenset())
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return Tree(ROOT, frozenset(path for path in listed if (ROOT / path).is_file()))


REPOSITORY = repository()
PAGES = sorted(path for path in REPOSITORY.files if path.endswith(".md"))


def test_every_page_is_looked_at():
    if not REPOSITORY.files:
        pytest.skip("needs a clone: only git knows which files are in the repository")
    assert {"README.md", "CONTRIBUTING.md", "docs/export.md", "docs/log.md", "models/README.md"} <= set(PAGES)
    assert sum(1 for page in PAGES for _ in targets(REPOSITORY.text(page))) > 20


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    assert REPOSITORY.broken(page) == []


# Thirteen targets: the picture in a link counts twice, what stands in code does not count.
MADE_UP = """# A page of *links*, `code` & more
## Twice
[file](docs/other.md), [folder](docs), [host](https://nowhere.invalid/x), [mail](mailto:a@b.invalid), [here](#twice)
[second](#twice-1), [there](docs/other.md#größe-in-mb), [HTML's own](docs/other.md#by-hand), ![picture](docs/a%20b.png)
[by name][one]

[![picture in a link](docs/a%20b.png)](docs/other.md#not_so-fast)

| table |
|---|
| [in a table](#a-page-of-links-code--more) |

`[code](nowhere.md)`

```
[code](nowhere.md)
```

## Twice

[one]: docs/other.md
"""
OTHER = '## Größe (in MB)\n\nNot_so-fast!\n---\n\n<a id="by-hand"></a>\n\n[back](../page.md#twice) [root](..)\n'


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "docs").mkdir()
    (tmp_path / "page.md").write_text(MADE_UP, encoding="utf-8")
    (tmp_path / "docs" / "other.md").write_text(OTHER, encoding="utf-8")
    for name in ("a b.png", "ignored.onnx"):
        (tmp_path / "docs" / name).touch()
    return Tree(tmp_path, frozenset({"page.md", "docs/other.md", "docs/a b.png"}))


def test_good_links_of_every_kind_pass(tree: Tree):
    assert len(list(targets(MADE_UP))) == 13
    assert [tree.broken(page) for page in ("page.md", "docs/other.md")] == [[], []]


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("[x](docs/nowhere.md)", "docs/nowhere.md: is not in the repository"),
        ("[x](docs/Other.md)", "docs/Other.md: is not in the repository"),
        ("[x](docs/ignored.onnx)", "docs/ignored.onnx: is not in the repository"),
        ("![x](nowhere.png)", "nowhere.png: is not in the repository"),
        ('<img alt="x" src="nowhere.png">', "nowhere.png: is not in the repository"),
        ('see <a href="nowhere.md">x</a>', "nowhere.md: is not in the repository"),
        ("[x][two]\n\n[two]: nowhere.md", "nowhere.md: is not in the repository"),
        ("| x |\n|---|\n| [x](nowhere.md) |", "nowhere.md: is not in the repository"),
        ("[x](../page.md)", "../page.md: leads out of the repository"),
        ("[x](/page.md)", "/page.md: does not begin at the page's own folder"),
        ("[x](#nowhere)", "#nowhere: no such heading"),
        ("[x](#Twice)", "#Twice: no such heading"),
        ("[x](#twice-2)", "#twice-2: no such heading"),
        ("[x](docs/other.md#twice)", "docs/other.md#twice: no such heading"),
        ("[x](docs#twice)", "docs#twice: only Markdown pages have anchors"),
        ("[x](docs/a%20b.png#twice)", "docs/a%20b.png#twice: only Markdown pages have anchors"),
    ],
)
def test_broken_links_and_anchors_are_found(tree: Tree, link: str, fault: str):
    (tree.root / "page.md").write_text(f"{MADE_UP}\n{link}\n", encoding="utf-8")
    (found,) = tree.broken("page.md")
    line = MADE_UP.count("\n") + 2 + (2 if link.startswith("| x") else 0)
    assert found == f"page.md:{line}: {fault}"
