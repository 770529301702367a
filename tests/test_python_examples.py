"""The Python of the pages runs as it stands there, shows what happens, and leaves out no public name.

A block of a page is one of three kinds. With `>>>` it is a session, whose answers doctest compares. With
`if __name__ == "__main__":` it is a program of its own, and prints what the comment behind each `print` says. Any other
block is run, but for those of Ray, which `test_clusters.py` runs.
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import inspect
import itertools
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from markdown_it import MarkdownIt

import vit_export
import vit_runtime
from vit_export import ExportRequest, export
from vit_export.checks import checked
from vit_runtime.artifact import Rollout

from .made_pictures import blots
from .text_models import save_tiny_clip

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / "docs" / "python.md"
README = ROOT / "README.md"
NOT_FOR_USERS = {"CheckpointError.mismatch"}
"""How the exporter makes an error."""

Names = dict[str, object]


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of Python, and the line of the page that its code starts on, counted from 0."""

    code: str
    line: int

    @property
    def is_program(self) -> bool:
        return 'if __name__ == "__main__":' in self.code

    @property
    def is_session(self) -> bool:
        return self.code.startswith(">>>")

    def source(self) -> str:
        """The code alone, without prompts and answers."""
        if not self.is_session:
            return self.code
        return "".join(example.source for example in doctest.DocTestParser().get_examples(self.code))


def blocks_of(text: str) -> list[Block]:
    tokens = MarkdownIt("commonmark").parse(text)
    fences = [token for token in tokens if token.type == "fence" and token.info.strip() == "python"]
    return [Block(token.content, token.map[0] + 1) for token in fences if token.map is not None]


@dataclasses.dataclass
class Page:
    """A page's examples, run in order in one namespace, in the current folder."""

    text: str
    name: str = "page"
    names: Names = dataclasses.field(default_factory=lambda: {"__name__": "__main__"})

    def faults(self) -> str:
        """Says what went otherwise than the page shows; empty where nothing did."""
        blocks = [block for block in blocks_of(self.text) if "import ray" not in block.code]
        return "".join(fault for block in blocks for fault in self._run(block))

    def _run(self, block: Block) -> Iterator[str]:
        if block.is_program:
            yield from self._run_program(block)
        elif block.is_session:
            yield from self._run_session(block)
        else:
            try:
                exec(compile("\n" * block.line + block.code, self.name, "exec"), self.names)  # noqa: S102 - our own page
            except Exception:
                yield traceback.format_exc()

    def _run_session(self, block: Block) -> Iterator[str]:
        said: list[str] = []
        test = doctest.DocTestParser().get_doctest(block.code, {}, self.name, self.name, block.line)
        test.globs = self.names
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append, clear_globs=False)
        yield from said

    def _run_program(self, block: Block) -> Iterator[str]:
        program = Path("program_of_the_page.py")
        program.write_text(block.code, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-W", "error", program], capture_output=True, text=True, timeout=120, check=False
        )
        shown = re.findall(r"^ *print\(.*\)  # (.*)$", block.code, flags=re.MULTILINE)
        if done.returncode or done.stdout.splitlines() != shown:
            yield f"{self.name}, line {block.line + 1}: shows {shown}, printed {done.stdout!r}\n{done.stderr}"


def used_names(blocks: Iterable[Block]) -> set[str]:
    """Every name that code uses, gives as a keyword, or defines; an import alone uses nothing."""
    found: set[str] = set()
    for block in blocks:
        for node in ast.walk(ast.parse(block.source())):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.keyword) and node.arg is not None:
                found.add(node.arg)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(node.name)
    return found


def parameters(function: Callable[..., object]) -> set[str]:
    """The parameters of a function that are given by name alone."""
    found = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in found if parameter.kind is inspect.Parameter.KEYWORD_ONLY}


def members(kind: type, names: Names) -> set[str]:
    """The public methods, with their parameters, and attributes of a class and of its instances among some names."""
    of_python = {name for base in kind.__mro__ if base.__module__ == "builtins" for name in dir(base)}
    instances = [value for value in names.values() if type(value) is kind]
    found = {name for each in (kind, *instances) for name in dir(each)} - of_python
    if dataclasses.is_dataclass(kind):
        found |= {each.name for each in dataclasses.fields(kind)}
    public = {name for name in found if not name.startswith("_")}
    methods = [getattr(kind, name) for name in public if inspect.isfunction(getattr(kind, name, None))]
    return public.union(*map(parameters, methods))


def public_names(package: ModuleType, names: Names) -> Iterator[str]:
    """Each name of a package's `__all__`, and what belongs to it as NAME.MEMBER."""
    for name in package.__all__:
        yield name
        value = getattr(package, name)
        if inspect.isclass(value):
            yield from (f"{name}.{member}" for member in sorted(members(value, names)))
        elif inspect.isfunction(value):
            yield from (f"{name}.{parameter}" for parameter in sorted(parameters(value)))


def left_out(package: ModuleType, page: Page) -> set[str]:
    """The public names of a package that no example uses."""
    used = used_names(blocks_of(page.text))
    return {name for name in public_names(package, page.names) if name.rpartition(".")[2] not in used} - NOT_FOR_USERS


def made_files(blocks: Iterable[Block], folder: Path, artifact: Path) -> None:
    """Puts a file of each name that code mentions into a folder: an artifact or a made picture."""
    texts = {
        node.value
        for block in blocks
        for node in ast.walk(ast.parse(block.source()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for text in sorted(texts):
        path = folder / text
        if path.suffix in (".onnx", ".jpg", ".png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(artifact, path) if path.suffix == ".onnx" else blots(0).save(path)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, str]]:
    """The page about Python, run once where a clone's files are, and its faults."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "models" / "digits", folder / "models" / "digits")
    save_tiny_clip(folder / "models" / "tiny-clip")
    page = Page(PYTHON.read_text(encoding="utf-8"), "docs/python.md")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield page, page.faults()
        page.names.clear()  # a file that an example leaves open warns now


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_python_page_shows_what_happens(ran: tuple[Page, str]):
    page, faults = ran
    assert not faults, faults
    assert {kind for block in blocks_of(page.text) for kind in [(block.is_session, block.is_program)]} == {
        (True, False),
        (False, True),
    }


@pytest.mark.parametrize("package", [vit_runtime, vit_export])
def test_the_python_page_uses_every_public_name(package: ModuleType, ran: tuple[Page, str]):
    assert left_out(package, ran[0]) == set()


def test_every_request_of_the_python_page_is_one_that_export_takes(ran: tuple[Page, str]):
    values = ran[0].names.values()
    lists = [value for value in values if isinstance(value, list)]
    requests = [value for value in (*values, *itertools.chain(*lists)) if isinstance(value, ExportRequest)]
    assert len(requests) > 5
    for request in requests:
        checked(request)


@pytest.mark.usefixtures("in_tmp_path")
def test_the_python_of_the_readme_runs(tiny_checkpoint: Path, tmp_path: Path):
    page = Page(README.read_text(encoding="utf-8"), "README.md")
    rollout = Rollout(head_fusion="mean", discard_ratio=0.0)
    artifact = export(ExportRequest(model=tiny_checkpoint, rollout=rollout, output=tmp_path / "tiny.onnx")).path
    made_files(blocks_of(page.text), tmp_path, artifact)
    assert blocks_of(page.text)
    assert not (faults := page.faults()), faults


# These tests can fail.


@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (">>> 1 + 2\n2", "Expected:\n    2\nGot:\n    3\n"),
        (">>> 1 + 2", "Expected nothing\nGot:\n    3\n"),
        (">>> None\n3", "Expected:\n    3\nGot nothing\n"),
        (">>> unknown", "NameError: name 'unknown' is not defined"),
        ("1 / 0", 'File "page", line 10, in <module>\nZeroDivisionError'),
        ('if __name__ == "__main__":\n    print(1 + 2)  # 2', "shows ['2'], printed '3\\n'"),
        ('if __name__ == "__main__":\n    1 / 0', "ZeroDivisionError"),
    ],
)
def test_another_answer_than_a_page_shows_is_found(code: str, fault: str):
    right = "# A page\n```python\n>>> print(1)\n1\n```\n```sh\nnot Python\n```\n"
    assert Page(right).faults() == ""
    assert fault in Page(f"{right}```python\n{code}\n```\n").faults()


def test_a_name_that_no_example_uses_is_found():
    package = ModuleType("package")
    package.__all__ = ["load", "check", "Prediction"]
    package.load, package.check, package.Prediction = vit_runtime.load, vit_runtime.check, vit_runtime.Prediction
    page = Page(
        "`check` in prose\n```python\n>>> from package import check, Prediction\n"
        ">>> Prediction.label  # index\n"
        ">>> load(provider='cpu', threads=1, device=0, verify=True, use_profile=False)\n```\n"
    )
    missing = {"check", "Prediction.index", "Prediction.kind", "Prediction.probability"}
    missing |= {f"load.{name}" for name in ("provider_options", "session_options", "purpose", "decode", "limits")}
    assert left_out(package, page) == missing


def test_names_live_on_in_the_blocks_behind():
    page = Page("```python\n>>> a = 1\n```\n```python\nb = a + 1\n```\n```python\n>>> b\n2\n```\n")
    assert not (faults := page.faults()), faults
