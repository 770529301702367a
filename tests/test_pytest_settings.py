"""What pyproject.toml asks of pytest: which warnings fail a test, and how a test that hangs ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def run_pytest(folder: Path, content: str, *options: str) -> str:
    """What pytest prints of one file of tests under the project's settings; its name there is `tests.test_made_up`."""
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests/test_made_up.py").write_text(content, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", PYPROJECT, f"--rootdir={folder}", "-p", "no:cacheprovider", "-rA"]
    done = subprocess.run(
        [*command, *options, "tests"],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


OURS = ("vit_runtime", "vit_export.read.finding", "vit_bench.cli", "tests.conftest", "/a/clone/export/vit_export/cli")
THEIRS = ("torch.nn.modules", "numpy", "tests_of_others", "vit_pytorch.vit")
DEPRECATIONS = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
OTHERS = ("UserWarning", "RuntimeWarning", "ResourceWarning", "SyntaxWarning")

WARN = f"""
import builtins
import warnings
import pytest

@pytest.mark.parametrize("category", {DEPRECATIONS + OTHERS})
@pytest.mark.parametrize("number", range({len(OURS + THEIRS)}))
def test(number, category):
    module = {OURS + THEIRS}[number]
    warnings.warn_explicit("as found", getattr(builtins, category), "somewhere.py", 1, module=module)

def test_of_its_own():
    warnings.warn("as found", DeprecationWarning, stacklevel=1)
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest prints of `WARN`."""
    return run_pytest(tmp_path_factory.mktemp("warnings"), WARN)


@pytest.fixture(scope="module")
def outcomes(printed: str) -> dict[str, str]:
    """By test of `WARN`: what came of it."""
    found = re.findall(r"^(PASSED|FAILED) tests/test_made_up\.py::(\S+)", printed, flags=re.MULTILINE)
    return {name: outcome for outcome, name in found}


@pytest.mark.parametrize("category", DEPRECATIONS + OTHERS)
@pytest.mark.parametrize("module", OURS + THEIRS)
def test_only_deprecations_in_other_packages_pass(module: str, category: str, outcomes: dict[str, str]):
    passes = module in THEIRS and category in DEPRECATIONS
    assert outcomes[f"test[{(OURS + THEIRS).index(module)}-{category}]"] == ("PASSED" if passes else "FAILED")


def test_what_a_test_calls_though_it_is_deprecated_fails_it(outcomes: dict[str, str]):
    assert outcomes["test_of_its_own"] == "FAILED"


def test_each_test_has_a_limit_of_time(printed: str):
    (seconds,) = re.findall(r"^timeout: (\S+)s$", printed, flags=re.MULTILINE)
    assert float(seconds) > 300, "the longest that a test gives a program: its own message says more"


HANG = """
import subprocess, sys
from pathlib import Path

def test_that_waits_for_a_program():
    program = "import os, pathlib, time; pathlib.Path('id').write_text(str(os.getpid())); time.sleep(600)"
    subprocess.run([sys.executable, "-c", program])

def test_after_it():
    pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that ends a wait")
def test_a_test_that_hangs_fails_alone_and_its_program_ends(tmp_path: Path):
    printed = run_pytest(tmp_path, HANG, "--timeout=3")
    assert "Failed: Timeout (>3.0s) from pytest-timeout." in printed
    assert "1 failed, 1 passed" in printed
    program = int((tmp_path / "id").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(program, 0)


STUCK = """
import itertools

def test_that_never_returns_to_the_interpreter():
    sum(itertools.repeat(1))
"""


def test_a_native_call_that_hangs_ends_pytest_and_is_named(tmp_path: Path):
    printed = run_pytest(tmp_path, STUCK, "--timeout=1", "-o", "faulthandler_timeout=2")
    assert "Timeout (0:00:02)!" in printed
    assert "in test_that_never_returns_to_the_interpreter" in printed
    assert "1 failed" not in printed
