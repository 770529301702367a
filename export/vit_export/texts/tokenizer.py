"""A model's tokenizer, as transformers understands its files, in a form that needs no transformers.

transformers decides what the files mean: its classes rebuild much of `tokenizer.json` by their own rules, or start from
other files. What they end up with goes into the artifact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from vit_export.errors import CheckpointError
from vit_export.read.text_tower import TextFiles, TextTower
from vit_export.texts.sentencepiece import fast_form
from vit_export.verify.library_package import Library, imported
from vit_runtime.artifact import TokenizerFacts
from vit_runtime.artifact.text_document import MOST_PACKED_BYTES, MOST_TOKENIZER_BYTES
from vit_runtime.artifact.tokenizer import pack
from vit_runtime.errors import MissingDependencyError

_WHOLE: Final = "tokenizer.json"
_CONFIG: Final = "tokenizer_config.json"
_PAIR: Final = ("vocab.json", "merges.txt")
_PIECES: Final = "spiece.model"
_BESIDE: Final = ("special_tokens_map.json", "added_tokens.json")
"""What may lie beside the tokenizer's own files, of old models; newer ones have it in the others."""
EXTRA: Final = "vit-edge[export-text]"


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A tokenizer, and what transformers' own makes of sentences."""

    packed: bytes
    """`tokenizer.json`, compressed."""
    document: bytes
    facts: TokenizerFacts
    context: int
    """Tokens of a text: the model's positions, or fewer where the tokenizer says so."""
    name: str
    """Package and version whose tokens follow."""
    expected: tuple[tuple[int, ...], ...]
    """The tokens of the sentences that were handed in, padded and cut off."""


def read_tokenizer(tower: TextTower, sentences: Sequence[str]) -> Tokenizer:
    """Reads the tokenizer that lies beside a text tower's weights.

    Raises:
        CheckpointError: its files are missing, or no file for the device can be made of them.
        MissingDependencyError: transformers is not installed, or sentencepiece where it is needed.
        VitEdgeError: a package does not load, or is too old.
    """
    fetch_tokenizer(tower)
    require("tokenizers", EXTRA)
    library = imported("transformers", tower.where)
    with library.at_work():
        theirs = load_tokenizer(library, tower)
        context = min(int(theirs.model_max_length), tower.architecture.context)
        rows = theirs(list(sentences), padding="max_length", truncation=True, max_length=context)["input_ids"]
        if theirs.is_fast:
            document, preparation = theirs.backend_tokenizer.to_str(), "none"
        else:
            document, preparation = fast_form(theirs), "siglip"
    # As published files are, it is indented; without white space it takes half the room in memory.
    content = json.dumps(json.loads(document), ensure_ascii=False, separators=(",", ":")).encode()
    packed = pack(content)
    if len(content) > MOST_TOKENIZER_BYTES or len(packed) > MOST_PACKED_BYTES:
        what = f"its tokenizer has {len(content):,} bytes, {len(packed):,} compressed: more than an artifact can hold"
        raise CheckpointError(tower.where, what, "use another model")
    if theirs.pad_token_id is None:
        raise CheckpointError(tower.where, f"its {_CONFIG} names no pad_token", "fetch it again")
    facts = TokenizerFacts(
        packed_bytes=len(packed),
        json_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        preparation=preparation,  # type: ignore[arg-type]  # mypy widens what is chosen above
        pad_token=theirs.pad_token_id,
        padding_side=theirs.padding_side,
        truncation_side=theirs.truncation_side,
    )
    return Tokenizer(
        packed=packed,
        document=content,
        facts=facts,
        context=context,
        name=library.name,
        expected=tuple(map(tuple, rows)),
    )


def fetch_tokenizer(tower: TextFiles) -> None:
    """Looks for the tokenizer's files, and fetches them where they are on the hub.

    Raises:
        CheckpointError: they are missing.
    """
    repository = tower.repository
    found = [_WHOLE] if repository.find(_WHOLE) is not None else []
    if not found:  # else the others are not asked for: without a network, what the cache lacks is an error
        found = [name for name in (*_PAIR, _PIECES) if repository.find(name) is not None]
    repository.find(_CONFIG)
    for name in _BESIDE:
        repository.glance(name)
    if _WHOLE in found or _PIECES in found or all(name in found for name in _PAIR):
        return
    remedy = (
        f"fetch them into the same folder from where its weights come from, such as huggingface.co/{_example(tower)}"
    )
    if found:
        (missing,) = set(_PAIR) - set(found)
        raise CheckpointError(
            tower.where, f"its tokenizer is incomplete: {missing} is missing beside {found[0]}", remedy
        )
    what = f"has no tokenizer: neither {_WHOLE}, nor {' with '.join(_PAIR)}, nor {_PIECES}"
    raise CheckpointError(tower.where, what, remedy)


def _example(tower: TextFiles) -> str:
    return {"clip": "openai/clip-vit-base-patch32", "siglip": "google/siglip-base-patch16-224"}[tower.family]


def load_tokenizer(library: Library, tower: TextFiles) -> Any:
    """Loads the class that `tokenizer_config.json` names, or else the family's; runs no code of a repository."""
    options = {"local_files_only": True, "trust_remote_code": False}
    files, module = tower.files, library.module
    whole = tower.repository.find(_WHOLE) is not None
    if not whole and tower.repository.find(_PIECES) is not None:
        require("sentencepiece", EXTRA)
        return module.SiglipTokenizer.from_pretrained(files, **options)
    if tower.repository.find(_CONFIG) is not None:
        return module.AutoTokenizer.from_pretrained(files, **options)
    if tower.family == "clip":
        return module.CLIPTokenizer.from_pretrained(files, **options)
    return module.PreTrainedTokenizerFast.from_pretrained(files, **options)


def require(package: str, extra: str) -> None:
    """Imports a package.

    Raises:
        MissingDependencyError: it is not installed; the message names the extra that brings it.
    """
    try:
        __import__(package)
    except ImportError as error:
        if error.name == package:
            raise MissingDependencyError(package, extra) from None
        raise
