"""Writes the int8 graph with as few layers in float as was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from vit_export.errors import VerificationError
from vit_export.int8.agreement import agreement
from vit_export.int8.calibration import with_pictures, without_pictures
from vit_export.int8.calibration_pictures import CalibrationPictures
from vit_export.int8.float_graph import FloatAnswers
from vit_export.int8.float_layers import fewest
from vit_export.int8.recipe import Int8Recipe
from vit_export.progress import Progress
from vit_export.request import ExportRequest
from vit_export.write.blueprint import Blueprint
from vit_export.write.work import Work
from vit_runtime.artifact import Quantization


def write_dynamic(work: Work, request: ExportRequest, blueprint: Blueprint) -> Quantization:
    """Writes a graph that quantizes activations while it runs, and returns what the artifact says about it."""
    with TemporaryDirectory(dir=work.file.path.parent) as folder:
        recipe = without_pictures(blueprint, Path(folder), work.progress)
    kept = recipe.kept(request.keep_float)
    work.write(recipe.graph(kept))
    return recipe.facts(kept)


def write_static(
    works: Sequence[Work],
    request: ExportRequest,
    blueprint: Blueprint,
    pictures: CalibrationPictures,
    progress: Progress,
) -> list[Quantization]:
    """Writes a calibrated graph for each target, and returns what their artifacts say about it.

    Raises:
        VerificationError: the answers change more often than `request.max_drop` allows, even with all layers in float.
    """
    with TemporaryDirectory(dir=works[0].file.path.parent) as folder:
        targets = [work.description.target for work in works]
        recipes, answers = with_pictures(blueprint, targets, pictures, Path(folder), progress)
    trials = (_Trials(work, request, recipe, pictures, answers) for work, recipe in zip(works, recipes, strict=True))
    return [_with_fewest_float_layers(each) for each in trials]


def _with_fewest_float_layers(trials: _Trials) -> Quantization:
    count = fewest(len(trials.others), trials.attempt)
    if count is None:
        described = trials.work.description
        what = "changes its answers even with all layers in float"
        raise VerificationError(f"{described.model} for {described.target}", what, "export it in fp32")
    if count != trials.last:
        trials.attempt(count)  # the file still holds the graph of another count
    return trials.found[count]


class _Trials:
    """Tries graphs with more and more layers in float, the worst first; the file holds the last graph tried."""

    def __init__(
        self,
        work: Work,
        request: ExportRequest,
        recipe: Int8Recipe,
        pictures: CalibrationPictures,
        answers: FloatAnswers,
    ) -> None:
        self.work = work
        self._most_percent = request.max_drop
        self._recipe = recipe
        self._pictures = pictures
        self._answers = answers
        self._asked = recipe.kept(request.keep_float)
        self.others = [layer for layer in recipe.worst() if layer not in self._asked]
        """The layers that may stay float besides those asked for, the worst first."""
        self.found: dict[int, Quantization] = {}
        """What the artifact says about its quantization, for each count that was tried."""
        self.last: int | None = None

    def attempt(self, count: int) -> bool:
        """Writes the file with `count` more layers in float, and says whether its answers change seldom enough."""
        work, calibration = self.work, self._pictures.facts
        more = self.others[:count]
        kept = tuple(layer for layer in self._recipe.layers if layer in self._asked or layer in more)
        work.write(self._recipe.graph(kept))
        found = agreement(work.open(), self._pictures, self._answers, work.progress)
        self.found[count], self.last = self._recipe.facts(kept, calibration, found), count
        if self._most_percent is None or found.same_top1 is None:
            return True
        changed = calibration.pictures - found.same_top1
        work.progress.note(f"{len(kept)} layers in float: {changed} of {calibration.pictures} answers change")
        return 100 * changed <= self._most_percent * calibration.pictures
