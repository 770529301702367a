"""`ViT`: a loaded artifact that answers for pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias, cast, overload

import numpy as np
from PIL import Image

from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Artifact, Output, as_path, read_artifact
from vit_runtime.artifact.signature import check_answers, check_signature, empty_answer
from vit_runtime.checks import whole_number
from vit_runtime.devices.session import CPU_PROVIDER, OpenedSession, Provider, open_session
from vit_runtime.errors import ArtifactError, ImageError, ProviderError, UsageError, one_line, option
from vit_runtime.heatmap import AttentionMap, keep
from vit_runtime.pictures.images import ImageSource
from vit_runtime.pictures.preprocess import load_pixels

if TYPE_CHECKING:
    from typing import TypeGuard

    import onnxruntime as ort

ImageSources: TypeAlias = "ImageSource | Iterable[ImageSource]"

DEFAULT_BATCH_SIZE = 8
"""Pictures in one run: larger batches gain nothing on a few CPU cores and cost memory."""
_PORTABLE_ON_CPU: Final = (
    "this file is for TensorRT and OpenVINO; here, on x86 processors, one exported with {} is faster"
)
_FP16_ON_CPU: Final = (
    "this file is fp16, for a GPU; on the CPU onnxruntime computes it slowly, on some ARM builds wrongly: see that its "
    "self-test passes (vit-run check), or export it in fp32 or int8"
)
_WITHOUT: Final[dict[Output, tuple[str, str]]] = {
    "logits": ("has no classification head, so it cannot classify", "take its embeddings"),
    "embedding": ("gives no embeddings", "export it again"),
    "rollout": ("gives no attention maps", "export it with {}"),
}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One class that a model sees in a picture."""

    index: int
    label: str
    """The class's name; "class 7" where the artifact has no labels."""
    probability: float
    """Softmax over all classes, 0 to 1."""


def load(
    path: str | os.PathLike[str],
    *,
    provider: Provider = "auto",
    threads: int | None = None,
    device: int | None = None,
    provider_options: Mapping[str, str] | None = None,
    session_options: Mapping[str, str] | None = None,
    verify: bool = False,
) -> ViT:
    """Loads an artifact that `vit-export` has written.

    Args:
        path: the .onnx file; above 2 GB its weights lie beside it as .onnx.data.
        provider: "auto" (CUDA where it works, else CPU), or one by name, which then runs or raises.
        threads: processor cores to use on the CPU; None for the physical performance cores.
        device: number of the GPU, for CUDA and TensorRT; None is the first.
        provider_options: further options of the provider that is named, as onnxruntime spells them.
        session_options: further configuration entries of the session, as onnxruntime spells them
            (`{"session.intra_op.allow_spinning": "0"}`).
        verify: whether to read the whole file first and compare its SHA-256 with the one that was written at the
            export. It tells of damage, not of a forger; `check` does it too.

    Raises:
        ArtifactError: the file is missing, damaged, or no vit-edge artifact of a known version.
        ProviderError: the provider cannot run here.
        UsageError: options that do not go together.
        MissingDependencyError: no onnxruntime is installed.
    """
    path = as_path(path)
    artifact = read_artifact(path)
    if verify:
        from vit_runtime.artifact.digest import check_digest

        check_digest(path, artifact.external_data)
    opened = open_session(
        path,
        provider=provider,
        threads=threads,
        int8=artifact.precision == "int8",
        device=device,
        provider_options=provider_options,
        session_options=session_options,
    )
    check_signature(opened.session, artifact, path)
    notes = filter(None, (opened.note, _unfit(artifact, opened.provider)))
    return ViT(artifact, replace(opened, note="; ".join(notes)), path)


def _unfit(artifact: Artifact, provider: str) -> str:
    """Why a file is not the one to run on a provider; empty where it is."""
    if provider != CPU_PROVIDER:
        return ""
    if artifact.precision == "fp16":
        return _FP16_ON_CPU
    if artifact.precision == "int8" and artifact.target == "portable":
        return _PORTABLE_ON_CPU.format(option("target", "cpu"))
    return ""


class ViT:
    """A Vision Transformer in an onnxruntime session.

    Every method takes one picture, or any number of them in a list, tuple, generator or other iterable (see
    `ImageSource`), and raises `ImageError` for what is no picture. Several run as batches; none give an empty answer
    of the right shape. Safe to use from several threads. `close`, or a `with` block, gives its memory back.

    It cannot be pickled: with `multiprocessing`, load it in each process, in the pool's `initializer`, for example.
    """

    def __init__(self, artifact: Artifact, opened: OpenedSession, path: Path | None = None) -> None:
        self.artifact = artifact
        self.path = path
        """The file that it was loaded from; None while an export verifies a graph without a finished file."""
        self.provider = opened.provider
        self.threads = opened.threads
        self.note = opened.note
        self._session: ort.InferenceSession | None = opened.session

    def __repr__(self) -> str:
        closed = ", closed" if self._session is None else ""
        return f"ViT({self.artifact.model}, {self.artifact.precision}, {self.provider}, threads={self.threads}{closed})"

    def __enter__(self) -> ViT:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a ViT cannot be pickled: load it in each process, for example with "
            "multiprocessing.Pool(initializer=...), and send pictures and answers between them"
        )

    def close(self) -> None:
        """Gives the session and its memory back; a second call does nothing, and answers are no longer to be had."""
        self._session = None

    # To a type checker a str is a sequence of str; here it is one picture.
    @overload
    def classify(self, images: ImageSource, *, top_k: int = ..., batch_size: int = ...) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def classify(
        self, images: Iterable[ImageSource], *, top_k: int = ..., batch_size: int = ...
    ) -> list[list[Prediction]]: ...
    def classify(
        self, images: ImageSources, *, top_k: int = 5, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> list[Prediction] | list[list[Prediction]]:
        """The likeliest classes, best first: a list for one picture, a list of lists for several."""
        top_k = whole_number("top_k", top_k, least=1)
        logits = self.logits(images, batch_size=batch_size)
        predictions = [self.top(row, top_k=top_k) for row in logits]
        return predictions[0] if _is_one(images) else predictions

    def logits(self, images: ImageSources, *, batch_size: int = DEFAULT_BATCH_SIZE) -> FloatArray:
        """The scores before the softmax: float32 (N, classes); N is 1 for one picture."""
        return self._compute("logits", images, batch_size)

    def embed(
        self, images: ImageSources, *, normalize: bool = False, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> FloatArray:
        """The class token after the final LayerNorm: float32 (N, width); N is 1 for one picture.

        Of a model that averages its patches it is that average. With `normalize` each row has length 1, so that the
        product of two rows is their cosine.
        """
        embeddings = self._compute("embedding", images, batch_size)
        return normalized(embeddings) if normalize else embeddings

    @overload
    def attend(self, images: ImageSource, *, batch_size: int = ...) -> AttentionMap: ...  # type: ignore[overload-overlap]
    @overload
    def attend(self, images: Iterable[ImageSource], *, batch_size: int = ...) -> list[AttentionMap]: ...
    def attend(
        self, images: ImageSources, *, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> AttentionMap | list[AttentionMap]:
        """Where the model looked, by attention rollout: a map for one picture, a list of maps for several.

        Raises:
            ArtifactError: the model was exported without attention maps.
        """
        photos = [keep(source) for source in _each(images)]
        maps = [
            AttentionMap(values, photo, self.artifact.preprocessing)
            for values, photo in zip(self._compute("rollout", photos, batch_size), photos, strict=True)
        ]
        return maps[0] if _is_one(images) else maps

    def require(self, output: Output) -> None:
        """Sees to it that the model has an output.

        Raises:
            ArtifactError: it has none; says how to get it.
        """
        if output not in self.artifact.outputs:
            known = f"known are {', '.join(self.artifact.outputs)}"
            problem, remedy = _WITHOUT.get(output, (f"has no output '{output}'", known))
            raise ArtifactError(self.artifact.model, problem, remedy.format(option("rollout")))

    def run(self, pixels: UInt8Array, outputs: Sequence[Output] | None = None) -> list[FloatArray]:
        """Runs the graph on pixels that are preprocessed already.

        Args:
            pixels: uint8 RGB (N, H, W, 3), H and W those of the artifact's crop, N at least 1.
            outputs: which outputs to return, in this order; None is all that `artifact.outputs` lists. Each is
                float32 (N, ...).

        Raises:
            ImageError: the pixels have another shape or dtype.
            ArtifactError: the artifact has no such output, or the graph gives something else under its name.
            ProviderError: the provider failed, most often for want of memory.
            UsageError: the model is closed.
        """
        outputs = self.artifact.outputs if outputs is None else tuple(outputs)
        if not outputs:
            raise UsageError("outputs", "an empty list", f"choose among {', '.join(self.artifact.outputs)}")
        for output in outputs:
            self.require(output)
        expected = (*self.artifact.preprocessing.crop_hw, 3)
        array = isinstance(pixels, np.ndarray)
        if not array or pixels.dtype != np.uint8 or pixels.shape[1:] != expected or len(pixels) == 0:
            raise ImageError(
                f"pixels of shape {pixels.shape} and dtype {pixels.dtype}" if array else type(pixels).__name__,
                f"not what {self.artifact.model} takes",
                f"give uint8 of shape (N, {', '.join(map(str, expected))})",
            )
        session = self._session
        if session is None:
            raise UsageError(self.artifact.model, "is closed", "load it again")
        try:
            answers = session.run(list(outputs), {"pixels": pixels})
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise ProviderError(
                self.provider,
                f"could not compute {len(pixels)} pictures ({one_line(error)})",
                "where memory is short, give fewer pictures at a time, or use a smaller model",
            ) from error
        check_answers(answers, outputs, self.artifact, len(pixels))
        return cast("list[FloatArray]", answers)

    def top(self, logits: FloatArray, *, top_k: int = 5) -> list[Prediction]:
        """The likeliest classes of one picture's logits (classes,), best first; ties by lower index.

        Raises:
            ArtifactError: the logits are NaN or infinite, so that there is no likeliest class.
        """
        if not np.isfinite(logits).all():
            raise ArtifactError(self.artifact.model, "answers with NaN or infinity", "run vit-run check on its file")
        shifted = np.exp(logits.astype(np.float64) - logits.max())
        probabilities = shifted / shifted.sum()
        labels = self.artifact.labels
        return [
            Prediction(
                index=int(index),
                label=labels[index] if labels is not None else f"class {index}",
                probability=float(probabilities[index]),
            )
            for index in np.argsort(-logits, kind="stable")[:top_k]
        ]

    def _compute(self, output: Output, images: ImageSources, batch_size: int) -> FloatArray:
        self.require(output)
        batch_size = whole_number("batch_size", batch_size, least=1)
        pixels = (load_pixels(source, self.artifact.preprocessing) for source in _each(images))
        answers = [self.run(batch, [output])[0] for batch in _batches(pixels, batch_size)]
        return np.concatenate(answers) if answers else empty_answer(output, self.artifact)


def normalized(embeddings: FloatArray) -> FloatArray:
    """Rows (N, width) scaled to length 1; a row of zeros stays as it is."""
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(embeddings / np.where(lengths > 0, lengths, 1), np.float32)


def _is_one(images: ImageSources) -> TypeGuard[ImageSource]:
    """Whether this is one picture: whatever can be one, and whatever nothing can be taken from."""
    one = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray, Image.Image))
    return one or hasattr(images, "read") or not isinstance(images, Iterable)


def _each(images: ImageSources) -> Iterable[ImageSource]:
    return [images] if _is_one(images) else cast("Iterable[ImageSource]", images)


def _batches(pixels: Iterable[UInt8Array], batch_size: int) -> Iterator[UInt8Array]:
    """Stacks pictures (H, W, 3) to batches (n, H, W, 3), n at most `batch_size`, reading no further ahead."""
    batch: list[UInt8Array] = []
    for picture in pixels:
        batch.append(picture)
        if len(batch) == batch_size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
