"""A graph under construction: written to a file that nobody sees yet, and run from there as on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vit_export.progress import Progress
from vit_export.write.builder import GraphBuilder
from vit_export.write.model_file import PROTOBUF_LIMIT, ModelFile
from vit_runtime.artifact import Description
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.providers import Provider
from vit_runtime.devices.session import Auto, open_session
from vit_runtime.graph import Graph
from vit_runtime.suitability import preferred


@dataclass(frozen=True, kw_only=True)
class Work:
    """The file, and what it is to become."""

    file: ModelFile
    description: Description
    progress: Progress

    def write(self, graph: GraphBuilder, limit: int = PROTOBUF_LIMIT) -> None:
        """Writes a graph in place of the previous one, without metadata: only a finished file becomes an artifact.

        `limit` is that of `ModelFile.write_graph`.
        """
        self.progress.stage("writing weights", total=sum(weight.nbytes for weight in graph.weights))
        self.file.write_graph(graph, written=self.progress.advance, limit=limit)
        self.file.close_graph()

    def open(self) -> Graph:
        """The written graph in a session of the kind that a device would take."""
        return opened(self.file.path, self.description)


def opened(path: Path, description: Description) -> Graph:
    """A written graph in a session of the kind that a device would take."""
    provider: Provider = "cpu" if description.target == "cpu" else "auto"
    auto = Auto(first=preferred(description))
    session = open_session(path, provider=provider, facts=ModelFacts.of(description), auto=auto)
    return Graph(description, session)
