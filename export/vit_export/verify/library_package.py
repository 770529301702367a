"""Runs transformers or timm: imports it only when asked for, keeps it quiet, and makes one line of what it raises."""

from __future__ import annotations

import importlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from PIL import Image

from vit_export.errors import CheckpointError
from vit_runtime.artifact import Reading
from vit_runtime.errors import MissingDependencyError, VitEdgeError, one_line, option

_OLDEST: Final = {"transformers": (5, 4), "timm": (1, 0, 26)}
"""The first versions with all that is called here, and with `weights_only` as the default."""


@dataclass(frozen=True, kw_only=True)
class LibraryPreparation:
    """How a package prepares pictures."""

    prepare: Callable[[Image.Image], torch.Tensor]
    """Turns an RGB picture into a normalised tensor (3, H, W)."""
    resizes_floats: bool = False
    """Whether it resizes tensors of floats; otherwise it resizes bytes with Pillow, as the runtime does."""


@dataclass(frozen=True, kw_only=True)
class Library:
    """An imported package, and the model that it is to load."""

    package: str
    module: Any
    model: str
    """What the package is asked to load, for messages."""

    @property
    def name(self) -> str:
        """Package and version."""
        return f"{self.package} {self.module.__version__}"

    @property
    def possessive(self) -> str:
        """The package's name in the possessive: `timm's`, `transformers'`."""
        return f"{self.package}'" if self.package.endswith("s") else f"{self.package}'s"

    @contextmanager
    def at_work(self, remedy: str | None = None) -> Iterator[None]:
        """Keeps the package quiet, and makes one line of whatever it raises.

        Args:
            remedy: what to do then; None is to do without the package.

        Raises:
            CheckpointError: the package cannot do what it is asked for.
        """
        try:
            with _quiet(self):
                yield
        except (VitEdgeError, MemoryError):
            raise
        except Exception as error:  # a checkpoint can make such a library raise anything
            remedy = remedy or f"leave {option('against')} out to compare with a plain Vision Transformer"
            raise CheckpointError(self.model, f"{self.name} cannot use it ({one_line(error)})", remedy) from error


class LibraryModel:
    """What the reference models of both libraries have in common."""

    reading: Reading = "library"

    def __init__(self, library: Library, model: Any) -> None:
        self.name = f"{library.name}, torch {torch.__version__}"
        self._library = library
        self._model = model


def imported(package: str, model: str) -> Library:
    """Imports the package, if it is there and new enough; `model` is what it will be asked to load.

    Raises:
        MissingDependencyError: the package is not installed.
        VitEdgeError: the package does not load, or is too old.
    """
    oldest = ".".join(map(str, _OLDEST[package]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: Any = importlib.import_module(package)
    except Exception as error:  # a package that does not fit the others may raise anything
        if isinstance(error, ImportError) and error.name == package:
            raise MissingDependencyError(package, f"{package}>={oldest}") from None
        raise VitEdgeError(package, f"does not load ({one_line(error)})", "install it again") from error
    found = tuple(int(number) for number in re.findall(r"\d+", module.__version__)[:3])
    if found < _OLDEST[package]:
        raise VitEdgeError(
            option("against", "library"),
            f"{package} {module.__version__} is too old",
            f"run: pip install '{package}>={oldest}'",
        )
    return Library(package=package, module=module, model=model)


@contextmanager
def _quiet(library: Library) -> Iterator[None]:
    """Silences the library's log, warnings and progress bars; afterwards all is as it was before."""
    with ExitStack() as undo:
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        # transformers loads torchao where that is installed, and PyTorch then logs what torchao does in an old way.
        for name in (library.package, "torch.utils._pytree"):
            logger = logging.getLogger(name)
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        if library.package == "transformers":
            hub: Any = importlib.import_module("huggingface_hub.utils")
            bars = library.module.utils.logging
            if hub.are_progress_bars_disabled():  # transformers switches the hub's bars along with its own
                undo.callback(hub.disable_progress_bars)
            if bars.is_progress_bar_enabled():
                undo.callback(bars.enable_progress_bar)
            bars.disable_progress_bar()
        yield
