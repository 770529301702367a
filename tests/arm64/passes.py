"""Runs a file's graph on the processor, one thread; `os.getppid()` stands between the passes, for `count.c`.

python passes.py MODEL.onnx PASSES
"""

from __future__ import annotations

import os
import sys

import numpy as np
import onnxruntime


def main() -> None:
    """The first pass is not counted: it may still prepare something."""
    model, passes = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (pixels,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in pixels.shape]
    feed = {pixels.name: np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)}
    session.run(None, feed)
    for _ in range(int(passes)):
        os.getppid()
        session.run(None, feed)
    os.getppid()


if __name__ == "__main__":
    main()
