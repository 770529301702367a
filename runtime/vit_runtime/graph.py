"""Runs a graph in an onnxruntime session, and checks its answers against its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import numpy as np

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Description, Output
from vit_runtime.artifact.signature import check_answers
from vit_runtime.devices.loaded import Loaded
from vit_runtime.devices.session import OpenedSession
from vit_runtime.devices.settings import placement
from vit_runtime.errors import ArtifactError, ImageError, ProviderError, UsageError, one_line, option

_WITHOUT: Final[dict[Output, tuple[str, str]]] = {
    "logits": ("has no classification head, so it cannot classify", "take its embeddings"),
    "embedding": ("gives no embeddings", "export it again"),
    "rollout": ("gives no attention maps", "export it with {}"),
}


class Graph(Loaded):
    """Turns prepared pixels into a graph's outputs; `ViT` adds the reading of images and the meaning of answers."""

    def __init__(self, description: Description, opened: OpenedSession) -> None:
        super().__init__(description.model, description.precision, opened)
        self.description = description

    def placement(self) -> dict[str, int]:
        """Counts the graph's nodes by the provider that runs them, by onnxruntime's names.

        It is empty after `close`, and before onnxruntime 1.24.
        """
        return {} if self._session is None else placement(self._session)

    def require(self, output: Output) -> None:
        """Raises an error unless the model has an output.

        Raises:
            ArtifactError: the model lacks the output; the message says how to get it.
        """
        if output not in self.description.outputs:
            known = f"known are {', '.join(self.description.outputs)}"
            problem, remedy = _WITHOUT.get(output, (f"has no output '{output}'", known))
            raise ArtifactError(self.description.model, problem, remedy.format(option("rollout")))

    def run(self, pixels: UInt8Array, outputs: Sequence[Output] | None = None) -> list[FloatArray]:
        """Runs the graph on pixels that are preprocessed already.

        Args:
            pixels: uint8 RGB (N, H, W, 3); H and W are those of the description's crop, and N is at least 1.
            outputs: which outputs to return, in this order; None means all of `description.outputs`. Each is float32
                (N, ...).

        Raises:
            ImageError: the pixels have another shape or dtype.
            ArtifactError: the model has no such output, or the graph gives it in another shape or type.
            ProviderError: the provider failed, most often because memory is short.
            UsageError: the model is closed, or `outputs` is empty.
        """
        outputs = self.description.outputs if outputs is None else tuple(outputs)
        if not outputs:
            raise UsageError("outputs", "an empty list", f"choose among {', '.join(self.description.outputs)}")
        for output in outputs:
            self.require(output)
        expected = (*self.description.preprocessing.crop_hw, 3)
        array = isinstance(pixels, np.ndarray)
        if not array or pixels.dtype != np.uint8 or pixels.shape[1:] != expected or len(pixels) == 0:
            raise ImageError(
                f"pixels of shape {pixels.shape} and dtype {pixels.dtype}" if array else type(pixels).__name__,
                f"not what {self.description.model} takes",
                f"give uint8 of shape (N, {', '.join(map(str, expected))})",
            )
        session = self._open_session()
        try:
            answers = session.run(list(outputs), {"pixels": pixels})
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise ProviderError(
                self.provider,
                f"could not compute {len(pixels)} pictures ({one_line(error)})",
                "where memory is short, give fewer pictures at a time, or use a smaller model",
            ) from error
        check_answers(answers, outputs, self.description, len(pixels))
        return cast("list[FloatArray]", answers)
