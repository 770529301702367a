"""What the files of a model of transformers state, whatever the family: kind, sizes, classes, preparation, weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from vit_export.errors import CheckpointError
from vit_export.progress import Progress
from vit_export.read.canonical import on_paper
from vit_export.read.checkpoint import Contents
from vit_export.read.picture_preparation import Preparation, Preset, in_proportion
from vit_export.read.processor_config import FILE as PROCESSOR
from vit_export.read.processor_config import WHOLE, preset, read_processor
from vit_export.read.repository import Repository, folder_of, licence, read_json, read_weights
from vit_export.read.state_dict import StateDict
from vit_runtime.artifact import Activation, Source

_ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "gelu": "erf",
    "gelu_python": "erf",
    "gelu_new": "tanh",
    "gelu_pytorch_tanh": "tanh",
    "quick_gelu": "quick",
}
_PLACEHOLDER: Final = re.compile(r"LABEL_\d+")


def architecture_name(config: Mapping[str, Any], known: Collection[str], where: str) -> str:
    """Gives the class of transformers that a configuration names.

    Raises:
        CheckpointError: it names none, several, or none of `known`.
    """
    stated = config.get("architectures")
    named = [str(name) for name in stated] if isinstance(stated, list) else [str(stated)]
    if len(named) != 1 or named[0] not in known:
        raise CheckpointError(
            where,
            f"architecture {', '.join(named) or 'none'} is not supported",
            f"supported are {', '.join(known)}",
        )
    return named[0]


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


def note_several_labels(config: Mapping[str, Any], progress: Progress) -> None:
    """Says so where a classifier was trained for several labels at once."""
    if config.get("problem_type") == "multi_label_classification":
        progress.note(
            "trained for several labels at once: its probabilities should be sigmoids, `classify` gives a softmax"
        )


def whole_number(config: Mapping[str, Any], key: str, default: int, where: str) -> int:
    """Gives a size that the configuration states, or else transformers' default; a square may be given by two numbers.

    Raises:
        CheckpointError: the value is none above zero, or no square.
    """
    value = config.get(key, default)
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(where, f"{key} {value} is not supported", "only whole numbers, and squares, are")
    return value


def refuse_other_channels(config: Mapping[str, Any], where: str) -> None:
    """Refuses a model of pictures that are not in colour.

    Raises:
        CheckpointError: it reads another number of channels than three.
    """
    if whole_number(config, "num_channels", 3, where) != 3:
        raise CheckpointError(where, f"num_channels {config['num_channels']} is not supported", "only 3 are")


def epsilon(config: Mapping[str, Any], default: float, where: str) -> float:
    """Gives LayerNorm's epsilon.

    Raises:
        CheckpointError: it is no number from 0 to below 1.
    """
    eps = config.get("layer_norm_eps", default)
    if not isinstance(eps, (int, float)) or not 0 <= eps < 1:  # also refuses NaN
        raise CheckpointError(where, f"layer_norm_eps {eps} is not supported", "fetch it again")
    return float(eps)


def activation(config: Mapping[str, Any], default: str, where: str) -> Activation:
    """Gives the MLP's function.

    Raises:
        CheckpointError: the graph has none such.
    """
    name = str(config.get("hidden_act", default))
    if name not in _ACTIVATIONS:
        raise CheckpointError(where, f"hidden_act {name} is not supported", f"supported are {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def preparation(repository: Repository, model_type: str, image_size: int) -> Preparation:
    """Gives the preparation in the image processor's file, or else the family's usual one.

    Raises:
        VitEdgeError: one of `vit_export.errors`: a file cannot be read, or describes what the runtime does not do.
    """
    document, file = read_json(repository, PROCESSOR), PROCESSOR
    if document is None:  # transformers 5 saves a processor of pictures and texts as one file
        whole, file = read_json(repository, WHOLE) or {}, WHOLE
        document = whole.get("image_processor")
    if isinstance(document, Mapping):
        return in_proportion(read_processor(document, model_type, f"{repository.where}/{file}"), file)
    usual = Preset(name="the family's usual preparation", why=f"there is no {PROCESSOR}")
    return in_proportion(preset(model_type, image_size, repository.where), PROCESSOR, usual)


def contents_of(repository: Repository, convert: Callable[[StateDict], StateDict], progress: Progress) -> Contents:
    """Reads the weights.

    Args:
        repository: where they are.
        convert: gives them the graph's names, and raises for what does not fit.
        progress: told which file is read.

    Raises:
        VitEdgeError: one of `vit_export.errors`: there are no weights, or they do not fit.
    """
    state, digest = read_weights(repository, progress)
    convert(on_paper(state))
    terms = licence(repository)
    source = Source(family="huggingface", weights=repository.source, sha256=digest, licence=terms, seed=None)
    return Contents(source=source, files=folder_of(repository), state=convert(state))
