"""`Predictor`: a model in a worker of Ray Data, and batches of pictures to batches of answers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, get_args

from vit_runtime.checks import whole_number
from vit_runtime.devices.providers import Provider
from vit_runtime.errors import ImageError, MissingDependencyError, UsageError
from vit_runtime.loading import load
from vit_runtime.pictures.preprocess import Decode
from vit_runtime.ray.batches import Batch, kept_columns, pictures_of, with_columns
from vit_runtime.ray.columns import Answered, answer_columns, column_names
from vit_runtime.ray.kinds import COLUMN, OUTPUT, Answers, Pictures
from vit_runtime.ray.worker import assigned_cpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from vit_runtime.pictures.reading import ImageSource

_MOST_SHOWN: Final = 60


class Predictor:
    """A callable class for `map_batches`: Ray makes one in each worker, which loads the model once.

    A batch keeps its columns, but for the pictures themselves, and gets these:

    | answers | columns |
    |---|---|
    | "labels" | `label`, `index` (int32) and `probability` (float32) of the likeliest class |
    | the same with `top_k` above 1 | also the lists `labels`, `indices` and `probabilities`, best first |
    | "probabilities" | `probabilities`: float32, one for each class |
    | "embeddings" | `embedding`: float32, of the model's width |
    | all | `error`: what was wrong with a picture, whose answers are null then; null where all went well |
    """

    def __init__(  # noqa: PLR0913 - Ray hands over plain values, each by its name
        self,
        model: str | os.PathLike[str],
        *,
        answers: Answers = "labels",
        top_k: int = 1,
        pictures: Pictures = "bytes",
        column: str | None = None,
        prefix: str = "",
        decode: Decode = "exact",
        threads: int | None = None,
        provider: Provider = "auto",
        version: str | None = None,
    ) -> None:
        """Loads the model.

        Args:
            model: path of an .onnx file that `vit-export` has written; each machine of the cluster needs it there.
            answers: what to answer with.
            top_k: how many labels a picture gets.
            pictures: what the column of pictures holds. Only paths stay in the batch.
            column: the column of pictures; None is what Ray calls it: "bytes", "path" or "image".
            prefix: what to put in front of the names of the new columns.
            decode: how photos are prepared, as for `load`.
            threads: processor cores to use, each for a picture of its own; None for those that Ray gave to the worker
                (`num_cpus` of `map_batches`), or outside of Ray what `load` takes.
            provider: as for `load`.
            version: the version of vit-edge that the worker has to have; None takes any.

        Raises:
            UsageError: an argument is wrong, or the worker has another version of vit-edge.
            MissingDependencyError: the worker lacks pyarrow or onnxruntime.
            ArtifactError: the file is missing, damaged or of an unknown version, or it lacks the output.
            ProviderError: the provider cannot run here.
        """
        _check_version(version)
        _require_pyarrow()
        self._answers: Answers = _choice("answers", answers, get_args(Answers))
        self._pictures: Pictures = _choice("pictures", pictures, get_args(Pictures))
        self._top_k = whole_number("top_k", top_k, least=1)
        self._column = COLUMN[self._pictures] if column is None else column
        self._names = [f"{prefix}{name}" for name in column_names(self._answers, self._top_k)]
        threads = assigned_cpus() if threads is None else threads
        self._model = load(model, provider=provider, threads=threads, purpose="throughput", decode=decode)
        self._model.require(OUTPUT[self._answers])

    def __repr__(self) -> str:
        return f"Predictor({self._model!r}, answers={self._answers!r}, column={self._column!r})"

    def __call__(self, batch: Batch) -> pa.Table:
        """Answers for a batch: a dict of NumPy arrays, or a table of Arrow, which is copied less.

        Raises:
            UsageError: the batch has no column of pictures, or it has columns of the names of the new ones.
            ArtifactError, ProviderError: the model cannot compute; what is wrong with one picture is in its row.
        """
        sources = pictures_of(batch, self._column, self._pictures)
        table = kept_columns(batch, without=None if self._pictures == "paths" else self._column)
        for name in self._names:
            if name in table.column_names:
                raise UsageError("batch", f"has a column '{name}' already", "give another prefix, as in prefix='vit_'")
        answered = self._answered(sources)
        return with_columns(table, self._names, answer_columns(self._model, answered, self._answers, self._top_k))

    def _answered(self, sources: Sequence[ImageSource | ImageError]) -> list[Answered]:
        """Answers for pictures, in order; errors keep their places."""
        readable = [source for source in sources if not isinstance(source, ImageError)]
        answers = iter(list(self._model.answers(readable, OUTPUT[self._answers])))
        return [source if isinstance(source, ImageError) else next(answers) for source in sources]


def _check_version(wanted: str | None) -> None:
    from vit_runtime import __version__

    if wanted is not None and wanted != __version__:
        what = f"this worker has vit-edge {__version__}, and the job asks for {wanted}"
        raise UsageError("version", what, "install the same version on every machine")


def _require_pyarrow() -> None:
    try:
        __import__("pyarrow")
    except ImportError as error:
        if error.name != "pyarrow":
            raise
        raise MissingDependencyError("pyarrow", "vit-edge[ray,cpu]") from None


def _choice(name: str, value: str, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise UsageError(name, f"{repr(value)[:_MOST_SHOWN]} is unknown", f"choose one of {', '.join(known)}")
    return value
