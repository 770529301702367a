"""What a process that measures a folder is told, and what it tells back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from vit_bench.contenders.task import Task
from vit_runtime.pictures.preprocess import Decode
from vit_runtime.wording import plural

Reading = Literal["exact", "fast", "pil", "decode_image"]
"""How pixels are made of a photo: by `vit_runtime`, exact or fast; or by torchvision's transforms, of Pillow's picture
or of the tensor that `torchvision.io.decode_image` gives."""
Work = Literal["tune", "folder", "photo"]
"""To find the fastest loader; to answer for the whole folder; to answer for one photo after the other."""
NO_CLASS: Final = -1
"""The likeliest class where a model has none."""


@dataclass(frozen=True, kw_only=True)
class Loader:
    """How a `torch.utils.data.DataLoader` feeds a model."""

    batch: int
    workers: int
    """Processes that read; 0 for none besides the one that computes."""
    threads: int
    """Threads that compute."""

    def __str__(self) -> str:
        """In words."""
        batches = f"batches of {self.batch}" if self.batch > 1 else "one picture at a time"
        return (
            f"DataLoader with {plural(self.workers, 'worker')}, {batches}, {plural(self.threads, 'thread')} computing"
        )


@dataclass(frozen=True, kw_only=True)
class FolderTask:
    """One contender's work in one process."""

    task: Task
    """The contender and the photos; `seconds` are for the work, which goes through the photos at least once."""
    work: Work
    reading: Reading
    loader: Loader | None = None
    """None where there is no `DataLoader`, or where it is to be found."""

    @property
    def decode(self) -> Decode:
        """The reading of a contender that is ours."""
        return "fast" if self.reading == "fast" else "exact"


@dataclass(frozen=True, kw_only=True)
class FolderMeasured:
    """What such a process tells at its end."""

    version: str
    detail: str
    reading: str = ""
    """How pictures are read and how many are in the works, in words."""
    pass_seconds: tuple[float, ...] = ()
    """Of each pass over the folder."""
    answered: tuple[int, ...] = ()
    """How often each photo was answered, over all passes, by position."""
    classes: tuple[int, ...] = ()
    """The likeliest class of each photo in the last pass, by position; `NO_CLASS` without a head."""
    photo_seconds: tuple[float, ...] = ()
    """Of each photo, one after the other."""
    loader: Loader | None = None
    """The fastest."""
    tried: int = 0
    """Loaders that were tried."""
