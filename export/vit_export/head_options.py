"""The options of `vit-export` for classes of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_CLASSES = "Your own classes"

ClassesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Classes in words, one a line: a label, or 'label: prompt | prompt'. For CLIP and SigLIP.",
        rich_help_panel=_CLASSES,
    ),
]
ExamplesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Classes in photos: a folder of 5 to 100 for each, named by its label. MODEL may be an .onnx file.",
        rich_help_panel=_CLASSES,
    ),
]
UnknownOption = Annotated[
    bool,
    typer.Option(
        "--unknown",
        help="With --examples: one more class, 'none of these', for pictures unlike all photos.",
        rich_help_panel=_CLASSES,
    ),
]
PromptOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        help="What the model reads of each class, {} being its label. Several are averaged.",
        show_default="its authors', such as 'a photo of a {}.'",
        rich_help_panel=_CLASSES,
    ),
]
