"""Passes pictures through the written float32 graph, and watches what goes into its linear layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from onnx import TensorProto

from vit_export.int8.observed import Observed
from vit_export.progress import Progress
from vit_export.write.blueprint import Blueprint
from vit_export.write.graph import build_graph
from vit_export.write.lowering import Activation, LayerRecorder, PlacedLinear
from vit_export.write.model_file import ModelFile
from vit_runtime.arrays import FloatArray, UInt8Array
from vit_runtime.artifact import Output
from vit_runtime.devices.session import open_session
from vit_runtime.errors import ArtifactError

MOMENT_BYTES: Final = 3 << 29
"""Memory for second moments, 1.5 GB. If they need more, pictures pass several times, a group of blocks each time."""


@dataclass(kw_only=True)
class FloatAnswers:
    """The float32 graph's answers for the pictures: the standard that quantization is held to."""

    of: dict[Output, list[FloatArray]] = field(default_factory=lambda: defaultdict(list))
    """The answers by output, one for each picture."""


class FloatGraph:
    """The written float32 graph in a session, with its linear layers' inputs as further outputs."""

    layers: tuple[PlacedLinear, ...]
    """All linear layers in the order of the graph. Their weights are made when they are asked for."""
    float32_bytes: int
    """Size of the graph's weights in bytes."""

    def __init__(self, folder: Path, blueprint: Blueprint) -> None:
        """Writes the graph into `folder`, which the caller deletes.

        Raises:
            CheckpointError: a weight is NaN or infinite.
            OutputFileError: there is no room for the file.
        """
        recorder, arch = LayerRecorder(), blueprint.arch
        graph = build_graph(replace(blueprint, rollout=None), recorder)
        self.layers = tuple(recorder.layers)
        self.float32_bytes = sum(weight.nbytes for weight in graph.weights)
        # The last block's query reads the class token alone. Key and value read all tokens; they come later, and win.
        self.sites = {layer.input.site: layer.input for layer in self.layers if layer.input.kind != "head"}
        self._outputs: list[Output] = ["logits", "embedding"] if arch.classes else ["embedding"]
        self._class_token = arch.pooling not in ("patch_mean", "attention")
        for site in self.sites.values():
            graph.output(site.value, TensorProto.FLOAT, ("N", site.rows, site.width))
        file = ModelFile(folder, "float32.onnx")
        file.write_graph(graph, written=lambda _bytes: None)
        file.close_graph()
        self.session = open_session(file.path, provider="cpu").session

    @property
    def int8_layers(self) -> tuple[str, ...]:
        """Paths of the layers that int8 is for, in the order of the graph: all but the head."""
        return tuple(layer.path for layer in self.layers if layer.input.kind != "head")

    def groups(self) -> Iterator[list[Activation]]:
        """Gives groups of places whose second moments fit into memory together; each encoder block stays whole."""
        blocks: dict[str, list[Activation]] = {}
        for site in self.sites.values():
            blocks.setdefault("/".join(site.site.split("/")[:2]), []).append(site)
        group: list[Activation] = []
        room = MOMENT_BYTES
        for block in blocks.values():
            size = sum(4 * site.width**2 for site in block)
            if group and size > room:
                yield group
                group, room = [], MOMENT_BYTES
            group.extend(block)
            room -= size
        yield group

    def observe(
        self, sites: list[Activation], pictures: Iterable[UInt8Array], progress: Progress
    ) -> tuple[dict[str, Observed], FloatAnswers]:
        """Shows pictures (H, W, 3) one by one, and gives statistics by place and the model's answers.

        Raises:
            ArtifactError: the model's activations overflow.
        """
        observed = {site.site: Observed.nothing(site.width) for site in sites}
        answers = FloatAnswers()
        for pixels in pictures:
            names = [*self._outputs, *(site.value for site in sites)]
            values = self.session.run(names, {"pixels": pixels[None]})
            if not all(np.isfinite(value).all() for value in values[: len(self._outputs)]):
                raise ArtifactError("calibration", "the model's answers are NaN or infinite", "check its weights")
            for output in self._outputs:
                answers.of[output].append(values.pop(0)[0])
            for site, value in zip(sites, values, strict=True):
                class_token = self._class_token and site.kind != "pixels"
                observed[site.site].add(value.astype(np.float32, copy=False), class_token=class_token)
            progress.advance(1)
        return observed, answers

    def peaks(self, pictures: Iterable[UInt8Array]) -> dict[str, FloatArray]:
        """Shows pictures (H, W, 3), and gives each channel's largest absolute value (width,), by place."""
        sites = list(self.sites.values())
        peaks = {site.site: np.zeros(site.width, np.float32) for site in sites}
        for pixels in pictures:
            values = self.session.run([site.value for site in sites], {"pixels": pixels[None]})
            for site, value in zip(sites, values, strict=True):
                seen = np.abs(value).reshape(-1, site.width).max(axis=0)
                peaks[site.site] = np.maximum(peaks[site.site], seen)
        return peaks
