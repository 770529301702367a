"""transformers' and timm's own models as reference, for `--against library`: they read the same files in their own way.

This also checks how our reader understands a checkpoint, not only the graph that is built from it. Both libraries are
imported only when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

from vit_export.errors import CheckpointError, VerificationError
from vit_export.progress import Progress
from vit_export.read.prepare import Prepared
from vit_export.read.processor_config import FILE as PROCESSOR
from vit_export.read.processor_config import WHOLE
from vit_export.read.repository import CONFIG, Folder, read_json
from vit_export.request import ExportRequest, PreprocessingOptions
from vit_export.verify.library_package import Library, LibraryPreparation, imported
from vit_export.verify.measuring import photos
from vit_export.verify.reference import ReferenceModel
from vit_export.verify.timm_vit import from_timm
from vit_export.verify.transformers_vit import from_transformers
from vit_export.verify.transforms import normalise
from vit_runtime.artifact import Family, Preprocessing
from vit_runtime.errors import option
from vit_runtime.pictures.preprocess import load_pixels

SAME_PREPARATION: Final = 1e-5
"""Largest difference of a normalised value that is accepted. No difference was measured (transformers 5.24, timm
1.0.31), but a library is free to round mean, deviation and 1/255 in another order, some 1e-7 each. A byte that is off
by one shifts the value by 1/255 over the deviation: 0.017 with ImageNet's, 0.004 with a deviation of 1."""
RESIZED_FLOATS: Final = 1.1
"""Largest difference, in steps of 255, from a preparation that resizes floats. Pillow rounds to bytes after the rows
and after the columns, half a step each. Measured: 1.0005 on 300 photos, 0.27 on average (transformers 5.24, DINOv3)."""

PACKAGES: Final[Mapping[Family, str]] = {"huggingface": "transformers", "timm": "timm"}
"""The library of each family, if a plain model can stand in for the library's."""


def library_reference(package: str, request: ExportRequest, prepared: Prepared, progress: Progress) -> ReferenceModel:
    """Gives the package's own model of a checkpoint, read in the package's own way, as `--against library` asks.

    Raises:
        MissingDependencyError: the package is not installed.
        CheckpointError: the package does not load the checkpoint.
        UsageError: timm cannot know the architecture of a file of weights.
        VerificationError: the package prepares pictures in another way than the artifact would.
    """
    files = prepared.files
    if files is None:
        raise CheckpointError(request.name, f"has no files that {package} could read", "give a folder or a file")
    progress.stage(f"loading {request.name} with {package}")
    library = imported(package, request.name)
    load = from_transformers if package == "transformers" else from_timm
    with library.at_work():
        theirs, preparation = load(library, files, prepared)
    skipped = _preparation_options(request) or _unknown_preparation(package, files)
    if skipped:
        progress.note(f"preparation of pictures is not compared with {library.possessive} own: {skipped}")
    else:
        with library.at_work():
            largest = _compare_preparation(library, preparation, prepared.preprocessing)
        if preparation.resizes_floats:
            progress.note(
                f"{library.name} resizes this model's pictures as floats: they differ from the artifact's by up to "
                f"{largest:.2f} of 255 steps (limit {RESIZED_FLOATS})"
            )
    return theirs


def _preparation_options(request: ExportRequest) -> str:
    """Tells why the library's preparation is not the one that was asked for; empty where it is."""
    if request.image_size is not None:
        return f"{option('image_size')} changes it"
    return "options change it" if request.preprocessing != PreprocessingOptions() else ""


def _unknown_preparation(package: str, files: Path) -> str:
    """Tells why the library does not know how pictures were prepared; empty where it does."""
    if not files.is_dir():
        return "a file of weights does not say how pictures were prepared"
    if package == "transformers":
        stated = any((files / name).is_file() for name in (PROCESSOR, WHOLE))
        return "" if stated else f"there is no {PROCESSOR}"
    config = read_json(Folder(files), CONFIG) or {}
    cfg = config.get("pretrained_cfg", config)
    return "" if "input_size" in cfg else f"{CONFIG} does not say how pictures were prepared"


def _compare_preparation(library: Library, preparation: LibraryPreparation, preprocessing: Preprocessing) -> float:
    """Gives the largest difference: in steps of 255 where the library resizes floats, else of a normalised value."""
    others, largest, limit, unit = 0, 0.0, SAME_PREPARATION, torch.ones(3, 1, 1)
    if preparation.resizes_floats:
        limit, unit = RESIZED_FLOATS, 255 * torch.tensor(preprocessing.std)[:, None, None]
    pictures = photos()
    for photo in pictures:
        ours = normalise(load_pixels(photo, preprocessing), preprocessing)
        theirs = preparation.prepare(photo)
        if ours.shape != theirs.shape:
            sizes = ["x".join(map(str, tensor.shape[1:])) for tensor in (ours, theirs)]
            raise VerificationError(
                library.model,
                f"pictures are prepared to {sizes[0]}, by {library.name} to {sizes[1]}",
                "nothing was written; please report it with the model's name",
            )
        difference = float(((ours - theirs).abs() * unit).max())
        others += not difference <= limit  # NaN counts as a difference too
        largest = max(largest, difference)
    if others:
        raise VerificationError(
            library.model,
            f"{library.name} prepares {others} of {len(pictures)} pictures otherwise, "
            f"by up to {largest:.1e} (limit {limit:g})",
            "nothing was written; please report it with the model's name",
        )
    return largest
