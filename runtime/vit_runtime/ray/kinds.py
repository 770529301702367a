"""What a `Predictor` takes and gives, by name."""

from __future__ import annotations

from typing import Final, Literal

from vit_runtime.artifact import Output

Pictures = Literal["bytes", "paths", "arrays"]
"""What the column of pictures holds: encoded files, names of files, or decoded pictures (uint8 RGB)."""
Answers = Literal["labels", "probabilities", "embeddings"]

COLUMN: Final[dict[Pictures, str]] = {"bytes": "bytes", "paths": "path", "arrays": "image"}
"""What Ray calls the column: `read_binary_files` makes bytes and path, `read_images` makes image."""
OUTPUT: Final[dict[Answers, Output]] = {"labels": "logits", "probabilities": "logits", "embeddings": "embedding"}
"""The graph's output that answers are made of."""
