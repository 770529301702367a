"""Tells whose checkpoint this is, by the name of a weight that every checkpoint of the family has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from vit_export.errors import CheckpointError
from vit_runtime.artifact import Family

SIGN: Final[Mapping[Family, str]] = {
    "torchvision": "conv_proj.weight",
    "timm": "patch_embed.proj.weight",
    "huggingface": "embeddings.patch_embeddings.projection.weight",
    "open_clip": "visual.conv1.weight",
}
"""The weight that reads the patches, by each family's name for it."""
_FURTHER: Final[Mapping[str, Family]] = {
    "embeddings.patch_embeddings.weight": "huggingface",
    "embeddings.patch_embedding.weight": "huggingface",
}
"""Other names of the same weight: DINOv3's, and that of CLIP's and SigLIP's towers."""
_CALLED: Final[Mapping[Family, str]] = {
    "torchvision": "torchvision",
    "timm": "timm",
    "huggingface": "Hugging Face",
    "open_clip": "open_clip",
}
"""What messages call each family."""


def is_huggingface(names: Iterable[str]) -> bool:
    """Tells whether weights have Hugging Face's names."""
    signs = (SIGN["huggingface"], *(sign for sign, family in _FURTHER.items() if family == "huggingface"))
    return any(name.endswith(signs) for name in names)


def refuse_other_families(names: Iterable[str], family: Family, where: object) -> None:
    """Refuses a checkpoint of another library's Vision Transformer, and names that library.

    Raises:
        CheckpointError: the names of the weights are another library's.
    """
    others = {sign: other for other, sign in SIGN.items() if other != family}
    others |= {sign: other for sign, other in _FURTHER.items() if other != family}
    for name in names:
        for sign, other in others.items():
            if name.endswith(sign):
                what = f"has {_CALLED[other]}'s names, not {_CALLED[family]}'s"
                raise CheckpointError(where, what, "give it as MODEL, by itself")
