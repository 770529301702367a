"""A process that makes a copy and tries it: releases of onnxruntime before 1.32 crash over dynamic int8 (docs/log.md).

Its parent asks with the paths of a model file and of a folder. Once the copy is right, it answers whether that wants
exact int8 kernels.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from vit_runtime.artifact import read_artifact
from vit_runtime.devices.child import Answers
from vit_runtime.devices.copying import write_copy
from vit_runtime.devices.engine import silence_onnxruntime
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.memory import return_large_blocks_at_once
from vit_runtime.devices.session import Kept, open_session
from vit_runtime.errors import ProviderError
from vit_runtime.graph import Graph
from vit_runtime.selftest import problem


def main() -> None:
    """Makes each copy that its parent asks for."""
    answers = Answers()
    return_large_blocks_at_once()
    with answers.report_errors():
        silence_onnxruntime()
        for document in answers.asked():
            path, folder = cast("list[str]", document)
            answers.answer(copy_and_try(Path(path), Path(folder)))


def copy_and_try(path: Path, folder: Path) -> bool:
    """Writes a model file's copy into a folder, runs the file's self-test on it, and says whether it wants exact int8.

    Raises:
        ArtifactError: onnxruntime cannot load the file, or cannot write its copy.
        ProviderError: this onnxruntime packs nothing in advance, or the copy fails the self-test.
    """
    artifact = read_artifact(path)
    copy = write_copy(path, folder, artifact.precision)
    opened = open_session(folder, provider="cpu", facts=ModelFacts.of(artifact), kept=Kept(copy=copy))
    wrong = opened.note if opened.copy is None else problem(Graph(artifact, opened), artifact.self_test)
    if wrong:
        raise ProviderError("prepared copy", wrong, "use the file itself, and tell us")
    return copy.exact_int8
