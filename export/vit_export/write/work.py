"""A graph under construction: written to a file that nobody sees yet, and run from there as on a device."""

from __future__ import annotations

from dataclasses import dataclass

from vit_export.progress import Progress
from vit_export.write.builder import GraphBuilder
from vit_export.write.model_file import ModelFile
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

    def write(self, graph: GraphBuilder) -> None:
        """Writes a graph in place of the previous one, without metadata: only a finished file becomes an artifact."""
        self.progress.stage("writing weights", total=sum(weight.nbytes for weight in graph.weights))
        self.file.write_graph(graph, written=self.progress.advance)
        self.file.close_graph()

    def open(self) -> Graph:
        """The written graph in a session of the kind that a device would take."""
        provider: Provider = "cpu" if self.description.target == "cpu" else "auto"
        opened = open_session(
            self.file.path,
            provider=provider,
            facts=ModelFacts.of(self.description),
            auto=Auto(first=preferred(self.description)),
        )
        return Graph(self.description, opened)
