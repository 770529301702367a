"""A model with a head that is not the checkpoint's, as reference."""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

from vit_export.read.prepare import Prepared
from vit_export.verify.reference import Answers, ReferenceModel
from vit_runtime.artifact import Reading


class NewHead:
    """A model whose embedding a head of the user's own classes reads; a library knows nothing of that head."""

    def __init__(self, model: ReferenceModel, prepared: Prepared) -> None:
        self.name = model.name
        self.reading: Reading = model.reading
        self._model = model
        self._arch = prepared.architecture
        self._state = {name: tensor for name, tensor in prepared.state.items() if name.startswith("heads.")}

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> Answers:
        """See `ReferenceModel`."""
        answers = self._model(pictures, attention=attention)
        return Answers(
            embedding=answers.embedding,
            logits=self._logits(answers.embedding),
            attention=answers.attention,
            pooling=answers.pooling,
        )

    def _logits(self, embedding: torch.Tensor) -> torch.Tensor:
        arch = self._arch
        read = F.normalize(embedding, dim=-1) if arch.normalised_head else embedding
        logits = self._linear(read, "heads.head").reshape(len(read), -1, arch.rows_per_class).amax(dim=2)
        if not arch.unknown_rows:
            return logits
        nearest = self._linear(read, "heads.unknown").amin(dim=1)
        return torch.cat([logits, (logits.amax(dim=1) + nearest)[:, None]], dim=1)

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self._state[f"{name}.weight"], self._state[f"{name}.bias"])
