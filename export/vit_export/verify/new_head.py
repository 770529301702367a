"""A library's own model with a head that is not the checkpoint's, as reference."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from vit_export.read.prepare import Prepared
from vit_export.verify.reference import Answers, ReferenceModel
from vit_runtime.artifact import Reading


class NewHead:
    """A model whose embedding a head of the user's own classes reads; the library knows nothing of that head."""

    def __init__(self, model: ReferenceModel, prepared: Prepared) -> None:
        self.name = model.name
        self.reading: Reading = model.reading
        self._model = model
        self._normalised = prepared.architecture.normalised_head
        self._weight, self._bias = (prepared.state[f"heads.head.{part}"] for part in ("weight", "bias"))

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> Answers:
        """See `ReferenceModel`."""
        answers = self._model(pictures, attention=attention)
        read = F.normalize(answers.embedding, dim=-1) if self._normalised else answers.embedding
        return Answers(
            embedding=answers.embedding,
            logits=F.linear(read, self._weight, self._bias),
            attention=answers.attention,
            pooling=answers.pooling,
        )
