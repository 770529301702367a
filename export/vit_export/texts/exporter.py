"""The export of a text tower from request to file: read, ask PyTorch and transformers, write, verify, publish."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from vit_export.checks import checked
from vit_export.destination import output_path
from vit_export.errors import CheckpointError
from vit_export.int8.texts import dynamic_text_graph
from vit_export.progress import Progress, Silent
from vit_export.read.text_tower import TextTower, read_text_tower
from vit_export.request import ExportRequest
from vit_export.texts.tokenizer import Tokenizer, read_tokenizer
from vit_export.verify.plain_text import PlainText, TextReference
from vit_export.verify.sentences import SENTENCES
from vit_export.verify.text_comparison import ask_text_reference, verify_texts
from vit_export.verify.transformers_text import transformers_text
from vit_export.write.builder import GraphBuilder
from vit_export.write.model_file import ModelFile, new_model_files
from vit_export.write.targets import float_lowering
from vit_export.write.text_graph import TextBlueprint, build_text_graph, float_rows, half_rows
from vit_export.write.weights import finite_weights
from vit_runtime import __version__
from vit_runtime.artifact import TEXT_FORMAT_VERSION, Quantization, TextArtifact, TextDescription, codec
from vit_runtime.devices.engine import import_onnxruntime
from vit_runtime.devices.facts import ModelFacts
from vit_runtime.devices.session import Auto, open_session
from vit_runtime.errors import one_line
from vit_runtime.suitability import preferred
from vit_runtime.texts.graph import TextGraph
from vit_runtime.texts.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class ExportedText:
    """A finished export of a text tower."""

    path: Path
    artifact: TextArtifact

    @property
    def bytes(self) -> int:
        """Size on disk in bytes, including weights that are in a file of their own."""
        return self.path.stat().st_size + (self.artifact.external_data.bytes if self.artifact.external_data else 0)


def export_text(request: ExportRequest, progress: Progress | None = None) -> ExportedText:
    """Writes a verified text tower; `request.text` is taken for set.

    Raises:
        VitEdgeError: one of `vit_export.errors` or `vit_runtime.errors`; no file is left then.
    """
    request, progress = checked(replace(request, text=True)), progress or Silent()
    import_onnxruntime()  # needed at the end; if it is missing, say so before the work
    destination = output_path(request)
    tower = read_text_tower(request.name, progress)
    progress.stage("reading the tokenizer with transformers")
    tokenizer = read_tokenizer(tower, SENTENCES)
    tower = _at_context(tower, tokenizer.context)
    description = _description(tower, tokenizer, request)
    progress.stage("asking PyTorch for reference answers")
    expected = ask_text_reference(_reference(tower, request), tokenizer.name, tokenizer.expected)
    with new_model_files([destination]) as (file,):
        graph, quantization = _graph(tower, tokenizer, request)
        del tower  # its weights are needed no longer than the graph
        progress.stage("writing weights", total=sum(weight.nbytes for weight in graph.weights))
        file.write_graph(graph, written=progress.advance)
        file.close_graph()
        del graph
        progress.stage("verifying against PyTorch")
        tokens = Tokens(tokenizer.document, tokenizer.facts, description.architecture, destination)
        verification, self_test = verify_texts(_opened(file, description), tokens, expected)
        artifact = TextArtifact(
            **vars(description),
            quantization=quantization,
            external_data=file.external_data,
            verification=verification,
            self_test=self_test,
        )
        file.write_metadata(artifact)
    return ExportedText(path=destination, artifact=artifact)


def _at_context(tower: TextTower, context: int) -> TextTower:
    """Leaves out positions that the tokenizer never fills."""
    if context == tower.architecture.context:
        return tower
    positions = "encoder.pos_embedding"
    state = tower.state | {positions: tower.state[positions][:, :context]}
    return replace(tower, architecture=replace(tower.architecture, context=context), state=state)


def _description(tower: TextTower, tokenizer: Tokenizer, request: ExportRequest) -> TextDescription:
    """Gives the part of the artifact's document that is known before the work.

    Raises:
        CheckpointError: readers of the artifact would refuse the text of a name or licence, or the tokenizer's numbers.
    """
    try:
        description = TextDescription(
            format_version=TEXT_FORMAT_VERSION,
            producer=f"vit-edge {__version__}",
            model=tower.name,
            source=tower.source,
            architecture=tower.architecture,
            tokenizer=tokenizer.facts,
            precision=request.precision,
            target=request.target,
        )
        largest = max(map(max, tokenizer.expected))
        if largest >= tower.architecture.vocabulary:
            raise ValueError(f"the tokenizer gives token {largest}, and there are {tower.architecture.vocabulary}")
        return codec.decode(TextDescription, json.loads(description.to_json().encode()))
    except (ValueError, UnicodeEncodeError) as error:
        what = f"does not fit its tokenizer, or no artifact can hold it ({one_line(error)})"
        raise CheckpointError(tower.where, what, "fetch both again, from one place") from error


def _reference(tower: TextTower, request: ExportRequest) -> TextReference:
    """Gives a plain model, or with `--against library` transformers' own."""
    if request.against is None:
        return PlainText(tower.architecture, tower.state)
    return transformers_text(tower.files, tower.model_type, tower.where)


def _graph(tower: TextTower, tokenizer: Tokenizer, request: ExportRequest) -> tuple[GraphBuilder, Quantization | None]:
    blueprint = TextBlueprint(
        arch=tower.architecture,
        weights=finite_weights(tower.state, tower.source.weights),
        tokenizer=tokenizer.packed,
    )
    if request.precision == "int8":
        return dynamic_text_graph(blueprint)
    look_up = half_rows if request.precision == "fp16" else float_rows
    return build_text_graph(blueprint, float_lowering(request.precision, request.target), look_up), None


def _opened(file: ModelFile, description: TextDescription) -> TextGraph:
    """The written graph in a session of the kind that a device would take."""
    opened = open_session(
        file.path,
        provider="cpu" if description.target == "cpu" else "auto",
        facts=ModelFacts(precision=description.precision, width=description.architecture.width),
        auto=Auto(first=preferred(description)),
    )
    return TextGraph(description, opened)
