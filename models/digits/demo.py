"""Classifies the sample pictures and compares each answer with the digit in the picture's name.

Usage: python models/digits/demo.py models/digits.onnx models/digits/samples
"""

from __future__ import annotations

import sys
from pathlib import Path

import vit_runtime as vit


def main() -> int:
    """Prints a line a picture; returns 1 where an answer is wrong."""
    model_path, folder = map(Path, sys.argv[1:])
    pictures = sorted(folder.glob("*.png"))
    model = vit.load(model_path)
    wrong = 0
    for picture, predictions in zip(pictures, model.classify(pictures, top_k=1), strict=True):
        best = predictions[0]
        right = best.label == picture.stem
        wrong += not right
        print(f"{picture}: {best.label} ({best.probability:.1%}), {'right' if right else 'WRONG'}")
    torch = "with" if "torch" in sys.modules else "without"
    print(f"{len(pictures) - wrong} of {len(pictures)} right, on {model.provider}, {torch} torch")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
