"""PyTorch over a folder, as its users do it: torchvision's transforms in the workers of a `DataLoader`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.datasets.folder import pil_loader
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F  # noqa: N812 - the name that torchvision's own code uses

from vit_bench.contenders.engine import TOP, labels
from vit_bench.contenders.folder.task import NO_CLASS, FolderTask, Loader, Reading
from vit_bench.contenders.pytorch import TorchEngine
from vit_bench.contenders.torch_model import prepare
from vit_runtime.artifact import Preprocessing

_BATCHES: Final = (1, 8, 16, 32)
_FIRST_BATCH: Final = 8
_FINALISTS: Final = 2
_MORE_TRIES: Final = 2
_PICTURES_TO_TRY: Final = 64
"""Pictures of one try: two of the largest batches."""


class DataLoaderFolder:
    """A model in PyTorch, and what feeds it."""

    def __init__(self, folder: FolderTask) -> None:
        self._threads = folder.task.threads
        self._engine = TorchEngine(folder.task)
        self._photos = _Photos(folder.task.photos, self._engine.artifact.preprocessing, folder.reading)
        self._order = _Order()
        self.version, self.detail = self._engine.version, self._engine.detail
        ways = {"pil": "Pillow's picture", "decode_image": "the tensor of torchvision.io.decode_image"}
        self.reading = f"torchvision's transforms of {ways[folder.reading]}"
        self._loader: DataLoader[tuple[torch.Tensor, int]] | None = None
        if folder.loader is not None and folder.work == "folder":  # one photo by itself gets all threads
            self._use(folder.loader)

    def answers(self, positions: Sequence[int]) -> Iterator[tuple[int, int]]:
        """See `FolderEngine`."""
        assert self._loader is not None  # noqa: S101 - whoever measures a folder has told how
        self._order.positions = positions
        for pixels, found in self._loader:
            # Collated: pixels (N, 3, H, W), positions (N,).
            yield from zip(torch.as_tensor(found).tolist(), self._label(pixels), strict=True)

    def answer(self, photo: str) -> None:
        """See `FolderEngine`."""
        self._label(self._photos.pixels(photo)[None])

    def fastest_loader(self) -> tuple[Loader, int]:
        """Tries workers and threads with one size of batches, then sizes with the fastest of them, on the first photos.

        The two fastest are tried twice more, and the better median wins.

        Returns:
            The fastest, and how many were tried.
        """
        cores = self._threads
        seconds = {loader: [self._try(loader)] for loader in loaders(cores, _FIRST_BATCH)}
        fastest = min(seconds, key=lambda loader: seconds[loader])
        for batch in _BATCHES:
            loader = replace(fastest, batch=batch)
            if loader not in seconds:
                seconds[loader] = [self._try(loader)]
        finalists = sorted(seconds, key=lambda loader: seconds[loader])[:_FINALISTS]
        for _ in range(_MORE_TRIES):
            for loader in finalists:
                seconds[loader].append(self._try(loader))
        return min(finalists, key=lambda loader: statistics.median(seconds[loader])), len(seconds)

    def _try(self, loader: Loader) -> float:
        """Seconds for the pictures to try, behind a first batch."""
        self._use(loader)
        positions = range(min(_PICTURES_TO_TRY, len(self._photos)))
        for _ in self.answers(positions[: loader.batch]):
            pass
        start = time.perf_counter()
        for _ in self.answers(positions):
            pass
        return time.perf_counter() - start

    def _use(self, loader: Loader) -> None:
        torch.set_num_threads(loader.threads)
        self._loader = DataLoader(
            self._photos,
            batch_size=loader.batch,
            sampler=self._order,
            num_workers=loader.workers,
            persistent_workers=loader.workers > 0,
        )

    def _label(self, pixels: torch.Tensor) -> list[int]:
        """The likeliest class of each picture; all five get their names, as an answer has them."""
        scores = self._engine.scores(pixels.to(self._engine.dtype))
        artifact = self._engine.artifact
        if not artifact.architecture.classes:
            return [NO_CLASS] * len(scores)
        _, indices = scores.softmax(-1).topk(min(TOP, scores.shape[-1]))
        rows: list[list[int]] = indices.tolist()
        for row in rows:
            labels(artifact, row)
        return [row[0] for row in rows]


def loaders(cores: int, batch: int) -> list[Loader]:
    """Loaders worth a try: no worker to one for each core, and all cores computing or those that workers leave."""
    some = {0, cores, *(2**power for power in range(cores.bit_length()) if 2**power < cores)}
    return [
        Loader(batch=batch, workers=workers, threads=threads)
        for workers in sorted(some)
        for threads in sorted({cores, max(1, cores - workers)})
    ]


class _Photos(Dataset[tuple[torch.Tensor, int]]):
    """Photos by position: their pixels, float32 (3, H, W), and the position."""

    def __init__(self, paths: Sequence[str], preprocessing: Preprocessing, reading: Reading) -> None:
        self._paths = paths
        self._preprocessing = preprocessing
        self._read: Callable[[str, Preprocessing], torch.Tensor] = _by_pillow if reading == "pil" else _by_torchvision

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        return self.pixels(self._paths[position]), position

    def pixels(self, path: str) -> torch.Tensor:
        """Reads and prepares one photo."""
        return self._read(path, self._preprocessing)


class _Order(Sampler[int]):
    """The positions of the next pass: workers stay, whatever they are to read."""

    def __init__(self) -> None:
        self.positions: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[int]:
        return iter(self.positions)


def _by_pillow(path: str, preprocessing: Preprocessing) -> torch.Tensor:
    return prepare(pil_loader(path), preprocessing)


def _by_torchvision(path: str, preprocessing: Preprocessing) -> torch.Tensor:
    """Does what `ImageClassification` does to a tensor, with v2's functions, which resize bytes as they are."""
    pixels = decode_image(read_file(path), ImageReadMode.RGB)
    exact, edge = preprocessing.resize_hw, preprocessing.resize_shortest_edge
    size = [edge] if exact is None else list(exact)
    pixels = F.resize(pixels, size, InterpolationMode(preprocessing.interpolation), antialias=True)
    pixels = F.center_crop(pixels, list(preprocessing.crop_hw))
    scaled = F.to_dtype(pixels, torch.float32, scale=True)
    normalised: torch.Tensor = F.normalize(scaled, mean=list(preprocessing.mean), std=list(preprocessing.std))
    return normalised
