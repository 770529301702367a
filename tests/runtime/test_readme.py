"""The README's Python runs as it stands there, on files of the names that it uses."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vit_runtime.arrays import UInt8Array

README = Path(__file__).parents[2] / "README.md"
ELSEWHERE = 'vit.load("models/vit_b_16.onnx", provider="cuda", device=1)'


def test_the_python_section(
    tiny_artifact: Path,
    attention_artifact: Path,
    picture: UInt8Array,
    encode: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    section = README.read_text(encoding="utf-8").partition("\n## From Python\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert blocks[0].count(ELSEWHERE) == 1  # the one line that needs another machine

    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    shutil.copy(tiny_artifact, "models/vit_b_16.onnx")
    shutil.copy(attention_artifact, "models/with_attention.onnx")
    for name in ("photo", "a", "b"):
        Path(f"{name}.jpg").write_bytes(encode(picture, "JPEG"))
    Path("broken.jpg").write_bytes(b"broken")

    names: dict[str, object] = {"paths": ["a.jpg", "b.jpg"]}
    exec(blocks[0].replace(ELSEWHERE, "pass"), names)  # noqa: S102 - our own README
    names["paths"] = ["a.jpg", "broken.jpg", "b.jpg"]
    exec(blocks[1], names)  # noqa: S102
    assert list(names["vectors"]) == ["a.jpg", "b.jpg"]
    np.testing.assert_allclose(names["vectors"]["a.jpg"], names["model"].embed("a.jpg")[0], rtol=0, atol=1e-5)
    assert capsys.readouterr().out.startswith("broken.jpg: not an image")
    assert Path("heat.png").is_file()
