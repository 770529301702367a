"""The metadata of a text tower's file; `models/README.md` is its specification.

It is a document of its own, under the key `vit_edge_text`: hardly anything that a picture model says about itself holds
for a text tower, and what reads one should never take the other for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Literal

from vit_runtime.artifact import codec
from vit_runtime.artifact.document import ExternalData, Precision, Target
from vit_runtime.artifact.quantization import Quantization, check_quantization
from vit_runtime.artifact.source import Source
from vit_runtime.artifact.text_architecture import TextArchitecture
from vit_runtime.artifact.verification import Reading

TEXT_KEY: Final = "vit_edge_text"
TEXT_FORMAT_VERSION: Final = 1
MOST_TOKENIZER_BYTES: Final = 64 << 20
"""Largest tokenizer, unpacked: Gemma's, of 256,000 tokens, takes 34 MB as it is published."""
MOST_PACKED_BYTES: Final = 16 << 20

Side = Literal["left", "right"]


@dataclass(frozen=True, kw_only=True)
class TokenizerFacts:
    """How texts become tokens. What `tokenizer.json` may say of padding and truncation does not count."""

    packed_bytes: int
    """Size of the graph's initializer `tokenizer`: `tokenizer.json`, compressed by zlib."""
    json_bytes: int
    sha256: str
    """Of `tokenizer.json`, in hexadecimal."""
    preparation: Literal["none", "siglip"]
    """What is done to a text before the tokenizer sees it. "siglip": lower case, no ASCII punctuation, one space for
    each run of white space."""
    pad_token: int
    """Number of the token that fills a text up to the context."""
    padding_side: Side
    truncation_side: Side

    def __post_init__(self) -> None:
        for name, most in (("packed_bytes", MOST_PACKED_BYTES), ("json_bytes", MOST_TOKENIZER_BYTES)):
            if not 0 < getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}, should be from 1 to {most}")
        if self.pad_token < 0:
            raise ValueError(f"pad_token is {self.pad_token}, should be at least 0")


@dataclass(frozen=True, kw_only=True)
class TextVerification:
    """What the export measured against PyTorch, on sentences of several lengths and alphabets."""

    reference: str
    """Packages and versions that gave the reference answers."""
    reading: Reading
    """Whose code read the checkpoint for the reference; see `Verification`."""
    tokenizer: str
    """Package and version whose tokens the file's own were compared with."""
    runtime: str
    """Package, version and execution provider that was verified."""
    remark: str
    """What could not be checked on the machine that exported; empty where everything was checked."""
    texts: int
    same_tokens: int
    """Sentences that became the same tokens."""
    max_difference: float
    min_cosine: float
    tolerance: float | None
    """Limit of the largest difference; None where the precision is held to a cosine."""
    cosine_limit: float | None


@dataclass(frozen=True, kw_only=True)
class TextSelfTest:
    """A sentence, and what becomes of it."""

    text: str
    tokens: tuple[int, ...]
    answers: Literal["reference", "export"]
    """Whose embedding follows: PyTorch's for fp32, or that of this very file when it was verified."""
    embedding: tuple[float, ...]
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class TextDescription:
    """The facts about a text tower's file that are known before its graph is written and measured."""

    format_version: int
    producer: str
    model: str
    source: Source
    architecture: TextArchitecture
    tokenizer: TokenizerFacts
    precision: Precision
    target: Target

    def __post_init__(self) -> None:
        if self.tokenizer.pad_token >= self.architecture.vocabulary:
            raise ValueError(f"pad_token {self.tokenizer.pad_token} is none of {self.architecture.vocabulary} tokens")

    def to_json(self) -> str:
        """The document as it goes into a file."""
        return json.dumps(codec.encode(self), ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class TextArtifact(TextDescription):
    """Everything that a text tower's file says about itself."""

    quantization: Quantization | None
    """How the graph was quantized; None unless the precision is int8."""
    external_data: ExternalData | None
    verification: TextVerification
    self_test: TextSelfTest

    def __post_init__(self) -> None:
        super().__post_init__()
        check_quantization(self.precision, self.quantization)
        test, arch = self.self_test, self.architecture
        for name, found_values, expected in (
            ("tokens", len(test.tokens), arch.context),
            ("values", len(test.embedding), arch.projection),
        ):
            if found_values != expected:
                raise ValueError(f"self_test has {found_values} {name}, should have {expected}")
