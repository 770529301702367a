"""`--against library` where a library is missing or refuses a checkpoint; and that neither is heard."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import timm
import transformers as hf
from huggingface_hub import utils as hub
from safetensors.torch import load_file, save_file

from vit_export.errors import CheckpointError
from vit_runtime.errors import MissingDependencyError, UsageError, VitEdgeError

from . import hf_models
from .against_library import (  # noqa: F401 - some are fixtures
    OF_TRANSFORMERS,
    _no_network,
    exported_fixture,
    notes_fixture,
    shallow_fixture,
    timm_file,
    timm_folder,
)
from .timm_models import one_thread  # noqa: F401 - a fixture

# What cannot be compared is refused in one line.


@pytest.mark.parametrize(("package", "oldest"), [("transformers", "5.4"), ("timm", "1.0.26")])
def test_a_package_that_is_missing_or_too_old(package, oldest, folder, monkeypatch, exported, files_in, shallow):
    shallow("vit_tiny_patch16_224")
    if package == "timm":
        path = timm_folder("ViT, AugReg", folder / "model")
    else:
        path = hf_models.save(hf_models.make("ViT"), folder / "model")
    before = files_in(folder)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[package], "__version__", "1.0.25.dev0")
        with pytest.raises(VitEdgeError) as caught:
            exported(path)
        message = f"against='library': {package} 1.0.25.dev0 is too old; run: pip install '{package}>={oldest}'"
        assert str(caught.value) == message
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError) as missing:
        exported(path)
    assert str(missing.value) == f"{package}: not installed; run: pip install '{package}>={oldest}'"
    assert files_in(folder) == before
    exported(path, against=None)


def test_a_package_that_does_not_load(folder, monkeypatch, exported):
    (folder / "transformers.py").write_text("raise RuntimeError('made for another torch')")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "transformers")
    path = hf_models.save(hf_models.make("ViT"), folder / "model")
    with pytest.raises(VitEdgeError, match=r"^transformers: does not load \(made for another torch\); install it"):
        exported(path)


def test_a_file_whose_name_says_nothing(folder, exported):
    path = timm_file("vit_tiny_patch16_224", folder).rename(folder / "weights.safetensors")
    with pytest.raises(UsageError) as caught:
        exported(path)
    assert str(caught.value) == (
        "against='library': timm cannot know what weights.safetensors is: it has no architecture 'weights'; "
        "call the file as its architecture (vit_base_patch16_224.safetensors), or leave the option out"
    )


def test_weights_that_timm_does_not_load(folder, exported):
    """Two blocks, where the architecture has twelve; the weights by themselves are whole."""
    path = timm_file("vit_tiny_patch16_224", folder)
    exported(path, against=None)
    with pytest.raises(CheckpointError) as caught:
        exported(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: timm {timm.__version__} cannot use it (Error(s) in loading state_dict")
    assert message.endswith("; leave against out to compare with a plain Vision Transformer")
    assert "\n" not in message
    assert len(message) < 600


def test_weights_that_transformers_would_make_up(folder, exported):
    """Our reader takes off what a training script put in front of names. transformers does not, and only logs it."""
    path = hf_models.save(hf_models.make("ViT"), folder / "model")
    state = load_file(path / "model.safetensors")
    save_file({f"module.{name}": tensor for name, tensor in state.items()}, path / "model.safetensors")
    exported(path, against=None)
    with pytest.raises(CheckpointError, match=r"does not fit transformers' ViTForImageClassification: \d+ missing "):
        exported(path)


def test_weights_that_transformers_does_not_load(folder, exported, monkeypatch):
    def refuse(*_args: object, **_options: object) -> None:
        raise ValueError("of another\ntime")

    monkeypatch.setattr(hf.ViTForImageClassification, "from_pretrained", refuse)
    path = hf_models.save(hf_models.make("ViT"), folder / "model")
    with pytest.raises(CheckpointError) as caught:
        exported(path)
    assert str(caught.value) == (
        f"{path}: transformers {hf.__version__} cannot use it (of another time); "
        "leave against out to compare with a plain Vision Transformer"
    )


# Neither library is heard.


def test_libraries_are_quiet_and_then_as_they_were(folder, exported, shallow):
    shallow("vit_tiny_patch16_224")
    ours = hf_models.save(hf_models.make("ViT"), folder / "theirs"), timm_folder("ViT, AugReg", folder / "timm's")
    for level, bars in ((logging.INFO, True), (logging.ERROR, False)):
        loggers = [logging.getLogger(name) for name in ("transformers", "timm")]
        before = [logger.level for logger in loggers]
        (hf.logging.enable_progress_bar if bars else hf.logging.disable_progress_bar)()
        try:
            for logger in loggers:
                logger.setLevel(level)
            for path in ours:
                exported(path)
            assert [logger.level for logger in loggers] == [level, level]
            assert hf.logging.is_progress_bar_enabled() == bars
            assert hub.are_progress_bars_disabled() != bars
        finally:
            hf.logging.enable_progress_bar()
            for logger, level_before in zip(loggers, before, strict=True):
                logger.setLevel(level_before)


def test_the_command_line_shows_nothing_of_theirs(folder):
    """A model without pooler, whose weights transformers makes up and reports, with a bar for loading."""
    path = hf_models.save(hf_models.make("ViT without head"), folder / "model")
    weights = load_file(path / "model.safetensors")
    save_file({n: t for n, t in weights.items() if "pooler" not in n}, path / "model.safetensors")
    command = [sys.executable, "-c", "from vit_export.cli import main\nmain()"]
    done = {
        against: subprocess.run(
            [*command, path, "-o", folder / "out.onnx", "--force", *against], capture_output=True, text=True, check=True
        )
        for against in ((), ("--against", "library"))
    }
    plain, theirs = (process.stderr.splitlines() for process in done.values())
    assert all(process.stdout == f"{folder / 'out.onnx'}\n" for process in done.values())
    assert any(OF_TRANSFORMERS in line for line in theirs)
    extra = [line for line in theirs if line not in plain and OF_TRANSFORMERS not in line]
    assert len(theirs) <= len(plain) + 1, theirs
    assert all("with transformers" in line or "difference" in line for line in extra), extra


def test_the_command_line_refuses_what_is_no_choice(vit_export_cli, tiny_checkpoint):
    result = vit_export_cli(tiny_checkpoint, "--against", "memory")
    assert result.exit_code == 2
    assert "library" in result.stderr
