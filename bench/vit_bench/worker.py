"""One contender in a process of its own: from nothing to a first answer, then the latency of the model alone.

Run as `python -m vit_bench.worker KIND FILE PHOTO THREADS RUNS`, KIND one of `_CONTENDERS`.
Prints "answered" when the first answer is there, and one JSON line at the end. Each side imports only what it needs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vit_runtime.errors import VitEdgeError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Run = Callable[[], object]


def _runtime(model_path: str, photo: str, threads: int) -> Run:
    import vit_runtime
    from vit_runtime.preprocess import load_pixels

    model = vit_runtime.load(model_path, provider="cpu", threads=threads)
    model.classify(photo)
    pixels = load_pixels(photo, model.artifact.preprocessing)[None]
    return lambda: model.run(pixels)


def _torch(checkpoint: str, photo: str, threads: int) -> Run:
    """Eager PyTorch: torchvision's model on mapped weights, its transforms, softmax, top five."""
    import torch
    from PIL import Image

    from vit_export import reference
    from vit_export.preprocessing import imagenet_preset
    from vit_export.sources.torchvision_state import canonical_names, read_architecture, reference_model
    from vit_export.state_dict import read_state_dict

    torch.set_num_threads(threads)
    state = canonical_names(read_state_dict(Path(checkpoint)))
    architecture = read_architecture(state, checkpoint)
    model = reference_model(architecture, state, checkpoint, "model")

    def classify(pixels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = model(pixels)
            return logits

    preprocessing = imagenet_preset(architecture.image_size)
    pixels = reference.prepare(Image.open(photo).convert("RGB"), preprocessing)[None]
    classify(pixels).softmax(-1).topk(5)
    return lambda: classify(pixels)


def _onnx(model_path: str, photo: str, threads: int) -> Run:
    """Plain onnxruntime, for graphs of normalised float pixels."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: _normalised(photo, session.get_inputs()[0].shape[-1])}
    session.run(None, feed)
    return lambda: session.run(None, feed)


def _openvino(model_path: str, photo: str, threads: int, precision: str = "f32") -> Run:
    import openvino

    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    model = core.compile_model(core.read_model(model_path), "CPU", config)
    request = model.create_infer_request()
    shape = model.inputs[0].partial_shape
    artifact = model.inputs[0].element_type == openvino.Type.u8  # ours: it takes the pixels themselves
    feed = {0: _pixels(photo, shape[1].get_length()) if artifact else _normalised(photo, shape[-1].get_length())}
    request.infer(feed)
    return lambda: request.infer(feed)


def _openvino_bf16(model_path: str, photo: str, threads: int) -> Run:
    return _openvino(model_path, photo, threads, "bf16")


_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


def _pixels(photo: str, side: int) -> npt.NDArray[np.uint8]:
    """A photo resized and cropped as torchvision's ImageNet preset does: uint8 (1, side, side, 3)."""
    from vit_runtime.artifact import Preprocessing
    from vit_runtime.preprocess import load_pixels

    preset = Preprocessing(
        resize_shortest_edge=side * 8 // 7,
        resize_hw=None,
        crop_hw=(side, side),
        crop_rounding="half_even",
        interpolation="bilinear",
        mean=_MEAN,
        std=_STD,
    )
    return load_pixels(photo, preset)[None]


def _normalised(photo: str, side: int) -> npt.NDArray[np.float32]:
    """A photo as torchvision's ImageNet preset hands it over: float32 (1, 3, side, side)."""
    import numpy as np

    values = (_pixels(photo, side) / 255 - _MEAN) / _STD
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)


_CONTENDERS: Final[dict[str, Callable[[str, str, int], Run]]] = {
    "runtime": _runtime,
    "torch": _torch,
    "onnx": _onnx,
    "openvino": _openvino,
    "openvino-bf16": _openvino_bf16,
}


def _peak_bytes() -> int:
    """The largest resident memory of this program so far; `getrusage` would count the parent's before exec as well."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("peak memory is read from /proc: run this on Linux")


def main() -> None:
    """Measures one contender."""
    kind, model, photo, threads, runs = sys.argv[1:]
    try:
        run = _CONTENDERS[kind](model, photo, int(threads))
    except VitEdgeError as error:
        raise SystemExit(f"error: {error}") from None
    print("answered", flush=True)  # noqa: T201 - the parent reads this
    latencies = []
    for _ in range(int(runs)):
        start = time.perf_counter()
        run()
        latencies.append(time.perf_counter() - start)
    print(json.dumps({"latencies_s": latencies, "peak_bytes": _peak_bytes()}))  # noqa: T201 - the parent reads this


if __name__ == "__main__":
    main()
