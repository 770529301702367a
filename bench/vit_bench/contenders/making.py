"""Makes the files of the other contenders from an artifact's own configuration and weights.

Run as `python -m vit_bench.contenders.making`, with a `Recipe` as JSON on its standard input: a process of its own,
since PyTorch and NNCF take memory, and can fail in ways of their own. Each file is made once a folder.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from vit_bench.contenders.source import FILES, Recipe, Source
from vit_bench.contenders.task import work_as_told
from vit_runtime.artifact import Artifact, read_artifact
from vit_runtime.files import staging_folder


class _Maker(Protocol):
    def make(self, file: str, source: Source, artifact: Artifact, target: Path) -> None:
        """Writes the file of this name to `target`, with whatever belongs beside it."""


def make(recipe: Recipe) -> None:
    """Makes one file; those that it is made from have to be there.

    Raises:
        VitEdgeError: with the reason why it cannot be made.
    """
    source = recipe.source
    folder = Path(source.folder)
    maker = cast("_Maker", import_module(f"vit_bench.contenders.{FILES[recipe.file]}"))
    with staging_folder(folder / recipe.file, "choose another folder for --peers") as staging:
        maker.make(recipe.file, source, read_artifact(source.artifact), staging / recipe.file)
        # What stands beside a model comes first: where the model is, all of it is.
        for made in sorted(staging.iterdir(), key=lambda path: path.name == recipe.file):
            made.replace(folder / made.name)


if __name__ == "__main__":
    work_as_told(Recipe, make)
