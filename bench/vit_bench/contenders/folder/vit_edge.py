"""An artifact over a folder, through `vit_runtime`'s public functions: the pipeline of `vit-run classify FOLDER`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import vit_runtime
from vit_bench.contenders.engine import TOP
from vit_bench.contenders.folder.task import NO_CLASS, FolderTask
from vit_runtime.artifact import Output
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.devices.providers import Provider
from vit_runtime.errors import ImageError
from vit_runtime.wording import plural


class VitEdgeFolder:
    """An artifact, loaded for many pictures, or for one at a time."""

    def __init__(self, folder: FolderTask) -> None:
        task = folder.task
        self._photos = task.photos
        self._model = vit_runtime.load(
            task.file,
            provider=cast("Provider", task.provider),
            threads=task.threads if task.provider == "cpu" else None,
            purpose="latency" if folder.work == "photo" else "throughput",
            decode=folder.decode,
        )
        self._output: Output = "logits" if "logits" in self._model.artifact.outputs else "embedding"
        self.version = f"onnxruntime {import_onnxruntime().__version__}"
        self.detail = "; ".join(filter(None, (self._model.provider, self._model.note)))
        self.reading = f'decode="{folder.decode}", {plural(self._model.workers, "picture")} in the works'

    def answers(self, positions: Sequence[int]) -> Iterator[tuple[int, int]]:
        """See `FolderEngine`."""
        at = {self._photos[position]: position for position in positions}
        for answer in self._model.answers(list(at), self._output):
            if isinstance(answer, ImageError):
                raise answer
            best = self._model.top(answer.values, top_k=TOP)[0].index if self._output == "logits" else NO_CLASS
            yield at[cast("str", answer.source)], best

    def answer(self, photo: str) -> None:
        """See `FolderEngine`."""
        if self._output == "logits":
            self._model.classify(photo, top_k=TOP)
        else:
            self._model.embed(photo)
