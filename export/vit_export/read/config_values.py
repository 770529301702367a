"""Values of Hugging Face's `config.json`, which may hold anything that JSON can."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from vit_export.errors import CheckpointError
from vit_runtime.artifact import Activation, Probabilities

_ACTIVATIONS: Final[dict[str, Activation]] = {
    "gelu": "erf",
    "gelu_python": "erf",
    "gelu_new": "tanh",
    "gelu_pytorch_tanh": "tanh",
    "quick_gelu": "quick",
}
"""transformers' names of what an MLP computes between its layers (`transformers/activations.py`)."""
_OF_GATES: Final[dict[str, Activation]] = {"silu": "silu", "swish": "silu"}
"""Those of gates alone: int8 counts on GELU's least value."""
_PLACEHOLDER: Final = re.compile(r"LABEL_\d+")


def whole_number(config: Mapping[str, Any], key: str, default: int, where: str, *, least: int = 1) -> int:
    """Gives a whole number; a list of two equal ones, as for height and width, counts as one.

    Raises:
        CheckpointError: the value is no such number, or below `least`.
    """
    value = config.get(key, default)
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise CheckpointError(where, f"{key} {value} is not supported", "only whole numbers, and squares, are")
    return value


def layer_norm_eps(config: Mapping[str, Any], default: float, where: str) -> float:
    """Gives LayerNorm's epsilon.

    Raises:
        CheckpointError: the value is no number from 0 to below 1.
    """
    eps = config.get("layer_norm_eps", default)
    if not isinstance(eps, (int, float)) or not 0 <= eps < 1:  # also refuses NaN
        raise CheckpointError(where, f"layer_norm_eps {eps} is not supported", "fetch it again")
    return float(eps)


def activation(config: Mapping[str, Any], default: str, where: str, *, gated: bool = False) -> Activation:
    """Gives the function of the MLP, or of its gate.

    Raises:
        CheckpointError: the function is not supported.
    """
    known = _ACTIVATIONS | _OF_GATES if gated else _ACTIVATIONS
    name = str(config.get("hidden_act", default))
    if name not in known:
        raise CheckpointError(where, f"hidden_act {name} is not supported", f"supported are {', '.join(known)}")
    return known[name]


def named_architecture(config: Mapping[str, Any], supported: Collection[str], where: str) -> str:
    """Gives the one class of transformers that the weights were saved from.

    Raises:
        CheckpointError: several classes are named, none, or another.
    """
    stated: object = config.get("architectures")
    named = [str(name) for name in stated] if isinstance(stated, list) else [str(stated)]
    if len(named) != 1 or named[0] not in supported:
        raise CheckpointError(
            where,
            f"architecture {', '.join(named) or 'none'} is not supported",
            f"supported are {', '.join(supported)}",
        )
    return named[0]


def refuse_other_channels(config: Mapping[str, Any], where: str) -> None:
    """Refuses a model of pictures that have other than three channels.

    Raises:
        CheckpointError: the configuration names another number.
    """
    if whole_number(config, "num_channels", 3, where) != 3:
        raise CheckpointError(where, f"num_channels {config['num_channels']} is not supported", "only 3 are")


def classes_of(config: Mapping[str, Any], where: str) -> tuple[int, tuple[str, ...] | None]:
    """Gives the number of classes, and their names in order; None if the names are transformers' placeholders.

    Raises:
        CheckpointError: the configuration names classes as none of transformers' does.
    """
    names = config.get("id2label")
    if names is None:
        count = config.get("num_labels", 2)  # transformers' default
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise CheckpointError(where, f"num_labels {count} is no number", "fetch it again")
        return count, None
    if not isinstance(names, Mapping):
        raise CheckpointError(where, "id2label is no object", "fetch it again")
    numbers = {str(number) for number in names}
    if numbers != {str(index) for index in range(len(names))}:
        raise CheckpointError(where, f"id2label does not number its {len(names)} classes from 0", "fetch it again")
    by_number = {int(number): str(name) for number, name in names.items()}
    labels = tuple(by_number[index] for index in range(len(by_number)))
    return len(labels), None if all(map(_PLACEHOLDER.fullmatch, labels)) else labels


def probabilities_of(config: Mapping[str, Any]) -> Probabilities:
    """Tells how logits become probabilities: a model trained for several labels at once gives each its own."""
    return "sigmoid" if config.get("problem_type") == "multi_label_classification" else "softmax"
