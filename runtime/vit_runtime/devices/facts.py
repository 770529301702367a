"""What a session has to know of a model besides its graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vit_runtime.artifact import Description, Precision


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What decides kernels and options, and what has to be looked at before an engine opens the file."""

    precision: Precision = "fp32"
    """Of the graph. For int8, processors whose fast kernels saturate use exact ones."""
    image_hw: tuple[int, int] = (0, 0)
    """Height and width of the pixels that it takes; 0 where that is not known."""
    width: int = 0
    """Width of its tokens; 0 where that is not known."""
    check: Callable[[], None] = _nothing
    """Is called before an engine opens the file, and raises where none should. A prepared copy was made of a file that
    had passed."""

    @classmethod
    def of(cls, description: Description, check: Callable[[], None] = _nothing) -> ModelFacts:
        """The facts of a model that is described.

        Args:
            description: of the model.
            check: see above.
        """
        return cls(
            precision=description.precision,
            image_hw=description.preprocessing.crop_hw,
            width=description.architecture.width,
            check=check,
        )
