"""Classifies the photos that a list names over and over: for as many seconds as each line on stdin says.

    python folder.py MODEL.onnx LIST

As `vit-run classify` does, without what starting takes.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

import vit_runtime as vit


def main() -> None:
    model = vit.load(sys.argv[1], purpose="throughput")
    paths = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
    for line in sys.stdin:
        begun, cpu, count = time.monotonic(), time.process_time(), 0
        until = begun + float(line)
        for answer in model.answers(itertools.cycle(paths), "logits"):
            assert isinstance(answer, vit.Answer)
            json.dumps([vars(each) for each in model.top(answer.values)])
            count += 1
            if time.monotonic() > until:
                break
        spent = {"seconds": time.monotonic() - begun, "cpu": time.process_time() - cpu}
        sys.stdout.write(json.dumps({"answered": count, **spent}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
