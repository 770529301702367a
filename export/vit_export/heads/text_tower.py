"""Zero-shot classes: what a model's own text tower makes of their prompts becomes the head (Radford et al. 2021).

transformers runs the tower, once. A class's direction d is the mean of its texts' vectors, each scaled to length 1, and
is itself scaled to length 1, as in the notebook of CLIP's authors ("Prompt Engineering for ImageNet"). With a picture's
vector x of length 1, and scale s and bias b as the model has learned them, the class's logit is s·(d·x) + b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from vit_export.errors import CheckpointError, ClassesError
from vit_export.heads.classes_file import ClassWords, read_classes
from vit_export.heads.replacing import NewHead, with_head
from vit_export.progress import Progress
from vit_export.read.prepare import Prepared
from vit_export.read.text_tower import TextFamily, TextFiles, find_text_tower
from vit_export.request import ExportRequest, PathLike
from vit_export.texts.tokenizer import EXTRA, fetch_tokenizer, load_tokenizer, require
from vit_export.verify.library_package import Library, imported
from vit_export.verify.transformers_text import transformers_text
from vit_runtime.artifact import Head, Probabilities, TextClasses
from vit_runtime.wording import plural

DEFAULT_PROMPT: Final[Mapping[TextFamily, str]] = {"clip": "a photo of a {}.", "siglip": "This is a photo of {}."}
"""What the authors take: CLIP's paper, section 3.1.4, and the pipeline that SigLIP's model cards use."""
_PROBABILITIES: Final[Mapping[TextFamily, Probabilities]] = {"clip": "softmax", "siglip": "sigmoid"}
"""What each family was trained with (Radford et al. 2021; Zhai et al. 2023, "Sigmoid Loss")."""
_PADDING: Final[Mapping[TextFamily, str]] = {"clip": "longest", "siglip": "max_length"}
"""CLIP's causal tower never sees what stands behind a text's end; SigLIP's was trained with the padding in sight."""
_BOTH_TOWERS: Final = ("clip", "siglip")
"""Model types of configurations that describe both towers."""
_BATCH: Final = 64
_SHOWN: Final = 60
_REMEDY: Final = "fetch its files again"


@dataclass(frozen=True, kw_only=True)
class WordedClasses:
    """Classes in words, ready for a text tower that has not run yet."""

    classes: tuple[ClassWords, ...]
    templates: tuple[str, ...]
    tokens: torch.Tensor
    """The texts of all classes, one class after the other: int64 (texts, context)."""
    counts: tuple[int, ...]
    """Number of texts of each class."""
    tower: TextFiles

    def as_head_of(self, prepared: Prepared, progress: Progress) -> Prepared:
        """Runs the text tower, and gives the checkpoint with these classes as its head.

        Raises:
            CheckpointError: transformers cannot load the tower, or its vectors are not of the pictures' space.
        """
        tower = self.tower
        progress.stage(f"reading {plural(len(self.tokens), 'text')} with the text tower")
        model = transformers_text(tower.files, tower.model_type, tower.where)
        with torch.inference_mode():
            vectors = torch.cat([model(batch) for batch in torch.split(self.tokens, _BATCH)])
        scale, bias = model.scale_and_bias()
        directions = class_directions(vectors, self.counts)
        return with_head(
            prepared,
            NewHead(
                labels=tuple(words.label for words in self.classes),
                weight=(scale * directions).float(),
                bias=torch.full((len(directions),), bias),
                head=Head(
                    origin="texts",
                    probabilities=_PROBABILITIES[tower.family],
                    texts=TextClasses(
                        templates=self.templates,
                        prompts=tuple(words.prompts for words in self.classes),
                        model=prepared.source.weights,
                        libraries=model.name,
                    ),
                ),
            ),
        )


def read_text_classes(file: PathLike, request: ExportRequest, progress: Progress) -> WordedClasses:
    """Reads classes in words, and all that can be wrong with them before the model's weights are fetched.

    Raises:
        ClassesError: the file cannot be read, or its classes make no head.
        CheckpointError: the model has no text tower, or lacks its tokenizer.
        MissingDependencyError: a package that reads texts is not installed.
        VitEdgeError: another of `vit_export.errors`.
    """
    classes = read_classes(file)
    tower = find_text_tower(request.name, progress)
    if tower.model_type not in _BOTH_TOWERS:
        what = "has a text tower and no picture tower"
        raise CheckpointError(tower.where, what, "give the whole model, such as openai/clip-vit-base-patch32")
    if len(classes) == 1 and _PROBABILITIES[tower.family] == "softmax":
        what = f"'{classes[0].label}' is its only class, which would always be 100 % likely"
        raise ClassesError(file, what, "add a class for what it is not")
    fetch_tokenizer(tower)
    require("transformers", EXTRA)
    library = imported("transformers", tower.where)
    templates = tuple(request.prompt) or (DEFAULT_PROMPT[tower.family],)
    texts = [words.texts(templates) for words in classes]
    tokens = _tokens([text for each in texts for text in each], library, tower, progress)
    counts = tuple(map(len, texts))
    _refuse_twins(classes, torch.split(tokens, list(counts)), file)
    if all(words.prompts for words in classes):
        templates = ()
    return WordedClasses(classes=classes, templates=templates, tokens=tokens, counts=counts, tower=tower)


def class_directions(vectors: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Directions of length 1 of each class, float64 (C, E), from its texts' vectors float32 (sum of counts, E)."""
    directions = torch.split(F.normalize(vectors.double(), dim=-1), list(counts))
    return F.normalize(torch.stack([each.mean(dim=0) for each in directions]), dim=-1)


def _tokens(texts: Sequence[str], library: Library, tower: TextFiles, progress: Progress) -> torch.Tensor:
    """Gives the tokens of texts as transformers makes them, and says so where it cuts texts off."""
    with library.at_work(_REMEDY):
        tokenizer = load_tokenizer(library, tower)
        context = min(int(tokenizer.model_max_length), tower.context)
        lengths = [len(row) for row in tokenizer(list(texts), truncation=False)["input_ids"]]
        padding = _PADDING[tower.family]
        options = {"padding": padding, "truncation": True, "max_length": context, "return_tensors": "pt"}
        tokens: torch.Tensor = tokenizer(list(texts), **options)["input_ids"]
    cut = [text for text, length in zip(texts, lengths, strict=True) if length > context]
    if cut:
        are, first = "is" if len(cut) == 1 else "are", cut[0][:_SHOWN]
        progress.note(
            f"{plural(len(cut), 'text')} {are} longer than the {context} tokens that the text tower reads; what is "
            f"behind them is left out, as transformers does: '{first}...'"
        )
    return tokens


def _refuse_twins(classes: Sequence[ClassWords], tokens: Sequence[torch.Tensor], file: PathLike) -> None:
    """Refuses classes whose texts are the same to the text tower, for example but for capital letters."""
    seen: dict[frozenset[tuple[int, ...]], str] = {}
    for words, rows in zip(classes, tokens, strict=True):
        key = frozenset(tuple(row) for row in rows.tolist())
        if key in seen:
            what = (
                f"'{seen[key]}' and '{words.label}' are one and the same to the text tower, which reads the same tokens"
            )
            raise ClassesError(file, what, "describe them in other words, or leave one out")
        seen[key] = words.label
