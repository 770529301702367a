"""The recipe for a model's int8 graphs, whichever of its layers stay float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from vit_export.int8.cpu import CpuInt8, WeightRounder
from vit_export.int8.float_layers import layers_to_keep, worst_first
from vit_export.int8.openvino import OpenVinoInt8
from vit_export.int8.portable import PortableInt8
from vit_export.int8.qdq import QdqInt8
from vit_export.int8.quantizer import Calibrated
from vit_export.write.blueprint import Blueprint
from vit_export.write.builder import GraphBuilder
from vit_export.write.graph import build_graph
from vit_runtime.artifact import Agreement, Calibration, LayerLoss, Quantization, Target

ACTIVATIONS: Final = {
    ("cpu", "static"): "uint8, calibrated behind LayerNorm and by row behind attention and GELU",
    ("cpu", "dynamic"): "uint8 by row",
    ("openvino", "static"): "uint8, calibrated; by OpenVINO itself in the first block, behind attention and GELU",
    ("portable", "static"): "int8 symmetric, calibrated",
}
LOWERINGS: Final[dict[Target, type[CpuInt8 | QdqInt8]]] = {
    "cpu": CpuInt8,
    "openvino": OpenVinoInt8,
    "portable": PortableInt8,
}
"""How int8 products are written, by target; CUDA has no fast int8 products."""


@dataclass(frozen=True, kw_only=True)
class Int8Recipe:
    """A model, equalised and rounded."""

    blueprint: Blueprint
    """The model, with equalised weights."""
    target: Target
    rounder: WeightRounder
    layers: tuple[str, ...]
    """Paths of the linear layers that int8 is for, in the order of the graph; the head is not among them."""
    float32_bytes: int
    """Size of the same model's weights in float32, in bytes."""
    calibrated: Calibrated | None
    """What calibration found out; None for dynamic quantization."""

    def graph(self, keep_float: Sequence[str]) -> GraphBuilder:
        """Records the graph with some layers in float."""
        ranges = {} if self.calibrated is None else self.calibrated.ranges
        return build_graph(self.blueprint, LOWERINGS[self.target](self.rounder, ranges, frozenset(keep_float)))

    def kept(self, wanted: int | tuple[str, ...]) -> tuple[str, ...]:
        """Gives the layers to keep in float, as a user asked; see `layers_to_keep`."""
        sqnr = None if self.calibrated is None else self.calibrated.sqnr
        return layers_to_keep(wanted, self.layers, sqnr)

    def worst(self) -> list[str]:
        """Lists the layers by their loss, the worst first; empty for dynamic quantization."""
        return [] if self.calibrated is None else worst_first(self.calibrated.sqnr)

    def facts(
        self, kept: tuple[str, ...], calibration: Calibration | None = None, agreement: Agreement | None = None
    ) -> Quantization:
        """Gives what the artifact says about its quantization."""
        scheme: Literal["static", "dynamic"] = "dynamic" if self.calibrated is None else "static"
        sqnr = {} if self.calibrated is None else self.calibrated.sqnr
        return Quantization(
            scheme=scheme,
            weights="int8 per output channel",
            activations=ACTIVATIONS[self.target, scheme],
            kept_float=kept,
            float32_bytes=self.float32_bytes,
            calibration=calibration,
            agreement=agreement,
            sensitivity=tuple(LayerLoss(layer=layer, sqnr_db=round(sqnr[layer], 2)) for layer in self.worst()),
        )
