"""`vit-export --list`: what can be exported, and with which published weights."""

from __future__ import annotations

from vit_export.extra import require_export_extra
from vit_export.request import RANDOM_WEIGHTS
from vit_runtime.command_line.console import answer

_OTHER_SOURCES = (
    "owner/name, or a folder with config.json",
    "  Hugging Face               ViT, DeiT, DINO, DINOv2 with and without registers: google/vit-base-patch16-224",
    "  timm                       the same, AugReg, DeiT III: timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "a file of weights",
    "  .safetensors, .pth         with torchvision's or timm's names",
)


def list_published() -> None:
    """Prints the models and weights that torchvision lists."""
    require_export_extra()
    from vit_export.read.torchvision import MODELS, default_entry, weights_entries

    for model in MODELS:
        answer(model)
        for name, entry in weights_entries(model).items():
            size = entry.meta["min_size"][0]
            accuracy = entry.meta["_metrics"]["ImageNet-1K"]["acc@1"]
            default = ", default" if name == default_entry(model) else ""
            answer(f"  {name:<26} {size} px, ImageNet top-1 {accuracy:.1f} %, {_megabytes(entry)} MB{default}")
        answer(f"  {RANDOM_WEIGHTS:<26} untrained, for trying out without a download")
    for line in _OTHER_SOURCES:
        answer(line)


def _megabytes(entry: object) -> int:
    return round(entry.meta["_file_size"])  # type: ignore[attr-defined,no-any-return]  # torchvision's enum, untyped
