"""Checks a request before any work: types, ranges, and whether its options go together.

Options that depend on the model are checked later, once the model is read. Nothing here imports torch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from vit_export.channels import Channels, three_numbers
from vit_export.head_request import check_head, plain_prompts
from vit_export.request import RANDOM_WEIGHTS, ExportRequest, PreprocessingOptions
from vit_export.text_request import check_text
from vit_runtime.artifact import LARGEST_EDGE, LARGEST_IMAGE, HeadFusion, Interpolation, Precision, Rollout, Target
from vit_runtime.checks import as_whole_number
from vit_runtime.errors import UsageError, option

_SHOWN: Final = 60

_Options = TypeVar("_Options", ExportRequest, PreprocessingOptions)


def checked(request: ExportRequest) -> ExportRequest:
    """Checks a request, and gives it in plain values: all of the right type, in range, and going together.

    Paths become text, sequences become tuples, and NumPy's numbers become Python's.

    Raises:
        UsageError: names the field that is wrong, or does not go with another.
    """
    _check_kind(request)
    request = _plain(request)
    if request.text:
        check_text(request)
    _check_weights(request)
    check_head(request)
    _check_precision(request)
    return request


def checked_for(request: ExportRequest, targets: Sequence[Target]) -> list[ExportRequest]:
    """Checks a request for several targets, and gives one request for each, in their order.

    Raises:
        UsageError: a target is unknown or named twice, `checked` refuses one of them, or the output is one file.
    """
    _check_kind(request)
    requests = [checked(replace(request, target=target)) for target in _targets("targets", targets)]
    output = requests[0].output
    if len(requests) > 1 and output is not None and Path(output).suffix == ".onnx":
        remedy = "give a folder, which is a name that does not end in .onnx"
        raise UsageError(option("output"), f"{_shown(output)} is one file, for {len(requests)} targets", remedy)
    return requests


def checked_rollout(head_fusion: object, discard_ratio: object) -> Rollout:
    """Checks how attention is to be rolled out, and gives it as one value.

    Raises:
        UsageError: there is no such fusion, or the ratio is not a number from 0 to below 1.
    """
    fusion = _choice("head_fusion", head_fusion, known=get_args(HeadFusion))
    ratio = _share("discard_ratio", discard_ratio, below=1, remedy="give a number from 0 to below 1")
    return Rollout(head_fusion=fusion, discard_ratio=ratio)


def _check_kind(request: object) -> None:
    if not isinstance(request, ExportRequest):
        raise UsageError("request", f"{_shown(request)} is no ExportRequest", "give ExportRequest(model='vit_b_16')")


def _plain(options: _Options) -> _Options:
    """Checks each field by itself; None is accepted where it is the default."""
    values: dict[str, Any] = {}
    for field in fields(options):
        value = getattr(options, field.name)
        is_default = value is None and field.default is None
        values[field.name] = None if is_default else _CHECKS[field.name](field.name, value)
    return replace(options, **values)


def _check_weights(request: ExportRequest) -> None:
    if request.weights is not None and request.checkpoint is not None:
        raise UsageError(
            option("weights"), f"does not go with {option('checkpoint')}, which brings its own", "leave one out"
        )
    if request.seed is not None and request.weights != RANDOM_WEIGHTS:
        remedy = f"add {option('weights', RANDOM_WEIGHTS)}, or leave it out"
        raise UsageError(option("seed"), "is for random weights", remedy)


def _check_precision(request: ExportRequest) -> None:
    if request.precision == "fp16" and request.target == "cpu":
        raise UsageError(
            option("precision", "fp16"),
            "is not for the CPU: onnxruntime's half-precision kernels there are slow, and on some ARM builds wrong",
            f"take {option('target', 'gpu')} or {option('target', 'portable')}, or {option('precision', 'int8')}",
        )
    if request.precision == "int8":
        if not request.text:
            _check_int8(request)
        return
    given = {
        "calibrate": request.calibrate is not None,
        "keep_float": request.keep_float != 0,
        "max_drop": request.max_drop is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise UsageError(option(name), "is for int8", f"add {option('precision', 'int8')}, or leave it out")


def _check_int8(request: ExportRequest) -> None:
    calibrate = option("calibrate")
    if request.target == "gpu":
        raise UsageError(
            option("precision", "int8"),
            f"is not for {option('target', 'gpu')}: onnxruntime on CUDA has no fast int8 kernels for these operators",
            f"take {option('target', 'portable')} for TensorRT, or {option('precision', 'fp16')}",
        )
    if request.calibrate is not None:
        return
    if request.target != "cpu":
        remedy = f"add {calibrate} and a folder of pictures"
        raise UsageError(option("target", request.target), "takes static int8 only", remedy)
    if request.max_drop is not None:
        raise UsageError(option("max_drop"), "is measured on calibration pictures", f"add {calibrate}")
    if isinstance(request.keep_float, int) and request.keep_float:
        what = f"a number needs {calibrate}, which finds the worst layers"
        raise UsageError(option("keep_float"), what, "add it, or name the layers")


def _path(name: str, value: object) -> str:
    """Gives a path, or a name that stands in its place, as text."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise UsageError(option(name), f"{_shown(value)} is no path", "give a str or a pathlib.Path")
    if not text or "\0" in text:
        raise UsageError(option(name), f"{_shown(text)} names nothing", "give a path, or leave it out")
    return text


def _name(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(option(name), f"{_shown(value)} is no name", "give one, or leave it out")
    return value


def _choice(name: str, value: object, *, known: tuple[str, ...]) -> Any:
    if not isinstance(value, str) or value not in known:
        raise UsageError(option(name), f"{_shown(value)} is unknown", f"choose one of {', '.join(known)}")
    return value


def _targets(name: str, value: object) -> list[Target]:
    if not isinstance(value, (tuple, list)) or not value:
        raise UsageError(option(name), f"{_shown(value)} is no list of targets", "for example: ['cpu', 'openvino']")
    targets = [_choice(name, target, known=get_args(Target)) for target in value]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(option(name), f"names {target} twice", "name it once")
    return targets


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(option(name), f"{_shown(value)} is neither True nor False", "give one of them")
    return value


def _whole(name: str, value: object, *, least: int, what: str, remedy: str, most: int | None = None) -> int:
    number = as_whole_number(value)
    if number is None or number < least or (most is not None and number > most):
        raise UsageError(option(name), f"{_shown(value)} is no {what}", remedy)
    return number


def _share(name: str, value: object, *, below: int, remedy: str) -> float:
    number = _as_float(value)
    if number is None or not 0 <= number < below:  # also refuses NaN
        raise UsageError(option(name), f"{_shown(value)} is no share", remedy)
    return number


def _resize(name: str, value: object) -> int | tuple[int, int]:
    sizes = [as_whole_number(size) for size in (value if isinstance(value, (tuple, list)) else (value,))]
    pixels = [size for size in sizes if size is not None and 1 <= size <= LARGEST_EDGE]
    if len(pixels) != len(sizes) or len(sizes) not in (1, 2) or (isinstance(value, (tuple, list)) and len(sizes) == 1):
        remedy = f"give the shortest edge, or height and width, from 1 to {LARGEST_EDGE} pixels"
        raise UsageError(option(name), f"{_shown(value)} is no size", remedy)
    return pixels[0] if len(pixels) == 1 else (pixels[0], pixels[1])


def _channels(name: str, value: object) -> Channels:
    channels = three_numbers(value)
    if channels is None:
        remedy = "give one for red, green and blue, on a scale of 0 to 1"
        raise UsageError(option(name), f"{_shown(value)} is not three finite numbers", remedy)
    if name == "std" and min(channels) <= 0:
        raise UsageError(option(name), f"{_shown(value)} should be above zero")
    return channels


def _keep_float(name: str, value: object) -> int | tuple[str, ...]:
    if not isinstance(value, (tuple, list)):
        return _whole(name, value, least=0, what="number of layers", remedy="give 0 or more, or names of layers")
    for pattern in value:
        if not isinstance(pattern, str):
            raise UsageError(option(name), f"{_shown(pattern)} is no name of a layer", "give a number, or names")
        if not pattern.strip():
            raise UsageError(option(name), f"'{','.join(map(str, value))}' has an empty name", "leave it out")
    return tuple(value)


def _rollout(name: str, value: object) -> Rollout:
    if not isinstance(value, Rollout):
        remedy = "give Rollout(head_fusion='mean', discard_ratio=0.0) of vit_runtime.artifact"
        raise UsageError(option(name), f"{_shown(value)} is no Rollout", remedy)
    return checked_rollout(value.head_fusion, value.discard_ratio)


def _preprocessing(name: str, value: object) -> PreprocessingOptions:
    if not isinstance(value, PreprocessingOptions):
        raise UsageError(option(name), f"{_shown(value)} is no PreprocessingOptions", "give vit_export's")
    return _plain(value)


def _as_float(value: object) -> float | None:
    """Gives a number, Python's or NumPy's, as a float; None for anything else, even a bool."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_CHECKS: Final[Mapping[str, Callable[[str, object], object]]] = {
    "model": _path,
    "weights": _name,
    "seed": partial(_whole, least=0, what="seed", remedy="give 0 or more"),
    "checkpoint": _path,
    "labels": _path,
    "classes": _path,
    "examples": _path,
    "unknown": _flag,
    "prompt": plain_prompts,
    "image_size": partial(
        _whole, least=1, most=LARGEST_IMAGE, what="size of a picture", remedy=f"give 1 to {LARGEST_IMAGE} pixels"
    ),
    "heads": partial(_whole, least=1, what="number of attention heads", remedy="give 1 or more"),
    "preprocessing": _preprocessing,
    "resize": _resize,
    "interpolation": partial(_choice, known=get_args(Interpolation)),
    "mean": _channels,
    "std": _channels,
    "rollout": _rollout,
    "precision": partial(_choice, known=get_args(Precision)),
    "target": partial(_choice, known=get_args(Target)),
    "calibrate": _path,
    "keep_float": _keep_float,
    "max_drop": partial(_share, below=100, remedy="give a percentage from 0 to below 100"),
    "against": partial(_choice, known=("library",)),
    "text": _flag,
    "output": _path,
    "force": _flag,
}
"""The check of each field, by the field's name."""
