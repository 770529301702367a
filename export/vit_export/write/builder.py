"""Records the nodes and weights of a graph; knows nothing of Vision Transformers.

Weights are recorded as promises: an array is made when it is written and dropped right after, so that building a
graph of gigabytes takes no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.typing import DTypeLike
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

Array = npt.NDArray[Any]
Attribute: TypeAlias = int | float | str | list[int]
Dim: TypeAlias = int | str
"""A fixed length, or the name of a dynamic one."""

OPSET: Final = 20
"""The first opset with Gelu, the newest operator used; LayerNormalization came with 17."""
CONTRIB_DOMAIN: Final = "com.microsoft"
"""Domain of onnxruntime's own operators. All its builds have them; other runtimes and most accelerators have none."""
CONTRIB_OPSET: Final = 1
_CONSTANT_BYTES: Final = 1024
"""Most bytes of numbers such as a shape."""
IR_VERSION: Final = 9
"""The IR version that came with opset 20 (ONNX 1.15)."""


@dataclass(frozen=True, kw_only=True)
class Initializer:
    """An initializer whose values are made when asked for."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    make: Callable[[], Array]
    inline: bool = False
    """Whether the values stay in the ONNX file, even where weights go to a file of their own."""

    @property
    def nbytes(self) -> int:
        """Size of the raw values in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def array(self) -> Array:
        """Makes the values, C-contiguous; another shape or dtype than promised is a bug and raises `AssertionError`."""
        array = self.make()
        if array.shape != self.shape or array.dtype != self.dtype:
            raise AssertionError(f"{self.name}: promised {self.shape} {self.dtype}, made {array.shape} {array.dtype}")
        return array if array.flags.c_contiguous else array.copy(order="C")


class GraphBuilder:
    """Collects nodes in order; every method that adds a value returns its name.

    Node and value names are paths, nested by `scope`: `encoder/3/attention/scores`.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[Initializer] = []
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        self._scope: list[str] = []
        self._names: set[str] = set()
        self._constants: dict[str, Array] = {}

    @classmethod
    def resumed(
        cls, nodes: Sequence[NodeProto], weights: Sequence[Initializer], inputs: Sequence[ValueInfoProto]
    ) -> GraphBuilder:
        """Goes on with a graph that was written before; its outputs are declared anew."""
        g = cls()
        g.nodes, g.weights, g.inputs = list(nodes), list(weights), list(inputs)
        g._names = {weight.name for weight in weights} | {value.name for value in inputs}
        g._names.update(name for node in nodes for name in (node.name, *node.output))
        g._constants = {weight.name: weight.array() for weight in weights if weight.nbytes <= _CONSTANT_BYTES}
        return g

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefixes the names of the nodes recorded inside."""
        self._scope.append(name)
        try:
            yield
        finally:
            self._scope.pop()

    def path(self, name: str) -> str:
        """The full name that a node recorded now under `name` gets."""
        return "/".join((*self._scope, name))

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Attribute) -> str:
        """Adds an operator of the standard domain with one output, which gets the node's name."""
        return self._node("", op, inputs, name, attributes)

    def contrib_node(self, op: str, inputs: Sequence[str], name: str, **attributes: Attribute) -> str:
        """Adds an operator that only onnxruntime knows, of its domain `com.microsoft`."""
        return self._node(CONTRIB_DOMAIN, op, inputs, name, attributes)

    def top_k(self, x: str, count: str, name: str, *, largest: bool) -> str:
        """Adds TopK over the last axis and returns its values, unsorted; no other operator here has two outputs."""
        path = self._unique(self.path(name))
        outputs = [path, self._unique(f"{path}/indices")]
        node = helper.make_node("TopK", [x, count], outputs, name=path, axis=-1, largest=int(largest), sorted=0)
        self.nodes.append(node)
        return path

    def weight(
        self,
        name: str,
        shape: tuple[int, ...],
        make: Callable[[], Array],
        dtype: DTypeLike = np.float32,
        *,
        inline: bool = False,
    ) -> str:
        """Adds weights under a name that the checkpoint gives them; float32 unless told otherwise."""
        self.weights.append(
            Initializer(name=self._unique(name), dtype=np.dtype(dtype), shape=shape, make=make, inline=inline)
        )
        return name

    def shared_weight(
        self, name: str, shape: tuple[int, ...], make: Callable[[], Array], dtype: DTypeLike = np.float32
    ) -> str:
        """As `weight`, for weights that several nodes read: whoever comes first adds them."""
        return name if name in self._names else self.weight(name, shape, make, dtype)

    def constant(self, name: str, values: Sequence[int] | float, dtype: DTypeLike = np.int64) -> str:
        """Adds numbers such as a shape, int64 unless told otherwise; a value is stored once under its name."""
        array = np.array(values, dtype=dtype)
        if name not in self._constants:
            self._constants[self._unique(name)] = array
            self.weights.append(Initializer(name=name, dtype=array.dtype, shape=array.shape, make=lambda: array))
        elif not np.array_equal(self._constants[name], array):
            raise AssertionError(f"the constant {name} has another value already")
        return name

    def input(self, name: str, dtype: TensorProto.DataType, shape: Sequence[Dim]) -> str:
        """Declares a graph input."""
        self.inputs.append(helper.make_tensor_value_info(self._unique(name), dtype, list(shape)))
        return name

    @property
    def domains(self) -> list[str]:
        """The operator sets that the nodes come from."""
        return sorted({node.domain for node in self.nodes})

    def output(self, name: str, dtype: TensorProto.DataType, shape: Sequence[Dim]) -> None:
        """Declares a value that was recorded before as a graph output."""
        if name not in self._names:
            raise AssertionError(f"output {name} was never computed")
        self.outputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))

    def _node(self, domain: str, op: str, inputs: Sequence[str], name: str, attributes: Mapping[str, Attribute]) -> str:
        path = self._unique(self.path(name))
        # mypy takes the ** arguments for make_node's own keywords.
        node = helper.make_node(op, list(inputs), [path], name=path, domain=domain, **attributes)  # type: ignore[arg-type]
        self.nodes.append(node)
        return path

    def _unique(self, name: str) -> str:
        if name in self._names:
            raise AssertionError(f"the name {name} is taken")
        self._names.add(name)
        return name
