"""One contender in a process of its own: from nothing to a first answer, then the latency of the model alone.

Run as `python -m vit_bench.worker runtime MODEL.onnx PHOTO THREADS RUNS` or `... torch CHECKPOINT PHOTO THREADS RUNS`.
Prints "answered" when the first answer is there, and one JSON line at the end. Each side imports only what it needs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vit_runtime.errors import VitEdgeError

Run = Callable[[], object]


def _runtime(model_path: str, photo: str, threads: int) -> Run:
    import vit_runtime
    from vit_runtime.preprocess import load_pixels

    model = vit_runtime.load(model_path, provider="cpu", threads=threads)
    model.classify(photo)
    pixels = load_pixels(photo, model.artifact.preprocessing)[None]
    return lambda: model.run(pixels, ["logits"])


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
        run = {"runtime": _runtime, "torch": _torch}[kind](model, photo, int(threads))
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
