"""transformers' and timm's own models as reference, for `--against library`: they read the same files in their own way.

What our reader makes of a checkpoint is then checked too, not only the graph that is built from it. Both libraries are
imported only here, and only when they are asked for.
"""

from __future__ import annotations

import importlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from vit_export.errors import CheckpointError, VerificationError
from vit_export.progress import Progress
from vit_export.read import finding as sources
from vit_export.read.loaded import LoadedModel
from vit_export.read.processor_config import FILE as PROCESSOR
from vit_export.read.repository import CONFIG, Folder, read_json
from vit_export.request import ExportRequest, PreprocessingOptions
from vit_export.verify.comparison import photos
from vit_export.verify.reference import ReferenceAnswers, ReferenceModel, normalise
from vit_runtime.artifact import Reading
from vit_runtime.errors import MissingDependencyError, UsageError, VitEdgeError, one_line, option
from vit_runtime.pictures.preprocess import load_pixels

SAME_PREPARATION: Final = 1e-5
"""Largest difference of a normalised value. None was measured (transformers 5.24, timm 1.0.31), but a library is free
to round mean, deviation and 1/255 in another order, some 1e-7 each. A byte that is off by one is off by 1/255 over the
deviation here: 0.017 with ImageNet's, 0.004 with a deviation of 1."""

_PACKAGES: Final = {"huggingface": "transformers", "timm": "timm"}
_OLDEST: Final = {"transformers": (5, 4), "timm": (1, 0, 26)}
"""The first with all that is called here, and with `weights_only` as the default."""
_UNUSED: Final = re.compile(r"(^|\.)(pooler\.|.*mask_token$)")
"""Weights that a checkpoint may lack: no answer depends on them."""
_RESIZED_WHEN_ASKED: Final = ("vit", "deit")
"""Model types of transformers that take pictures of another size only when told to."""

Prepare = Callable[[Image.Image], torch.Tensor]
"""An RGB picture to a normalised tensor (3, H, W)."""


@dataclass(frozen=True, kw_only=True)
class _Library:
    """A package that is imported."""

    package: str
    module: Any
    model: str
    """What it is asked to load, for messages."""

    @property
    def name(self) -> str:
        return f"{self.package} {self.module.__version__}"

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keeps it quiet, and makes one line of whatever it raises.

        Raises:
            CheckpointError: it cannot do what it is asked for.
        """
        try:
            with _quiet(self):
                yield
        except (VitEdgeError, MemoryError):
            raise
        except Exception as error:  # of anything that a checkpoint can make such a library raise
            remedy = f"leave {option('against')} out to compare with a plain Vision Transformer"
            raise CheckpointError(self.model, f"{self.name} cannot use it ({one_line(error)})", remedy) from error


def library_reference(request: ExportRequest, model: LoadedModel, progress: Progress) -> ReferenceModel:
    """The reference that `--against library` asks for; of torchvision's family it is torchvision's own model anyway.

    Raises:
        MissingDependencyError: the package is not installed.
        CheckpointError: it does not load the checkpoint.
        UsageError: timm cannot know the architecture of a file of weights.
        VerificationError: it prepares pictures otherwise than the artifact would.
    """
    package = _PACKAGES.get(model.source.family)
    if package is None:
        return model.reference
    progress.stage(f"loading {request.name} with {package}")
    library = _imported(package, request.name)
    files = sources.files(request.name)
    load = _from_transformers if package == "transformers" else _from_timm
    with library.at_work():
        theirs, prepare = load(library, files, model)
    skipped = _preparation_options(request) or _unknown_preparation(package, files)
    if skipped:
        progress.note(f"preparation of pictures is not compared with {_possessive(package)} own: {skipped}")
    else:
        with library.at_work():
            _compare_preparation(library, prepare, model)
    return theirs


def _possessive(package: str) -> str:
    return f"{package}'" if package.endswith("s") else f"{package}'s"


def _imported(package: str, model: str) -> _Library:
    oldest = ".".join(map(str, _OLDEST[package]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: Any = importlib.import_module(package)
    except Exception as error:  # a package that does not fit others raises anything
        if isinstance(error, ImportError) and error.name == package:
            raise MissingDependencyError(package, f"{package}>={oldest}") from None
        raise VitEdgeError(package, f"does not load ({one_line(error)})", "install it again") from error
    found = tuple(int(number) for number in re.findall(r"\d+", module.__version__)[:3])
    if found < _OLDEST[package]:
        raise VitEdgeError(
            option("against", "library"),
            f"{package} {module.__version__} is too old",
            f"run: pip install '{package}>={oldest}'",
        )
    return _Library(package=package, module=module, model=model)


@contextmanager
def _quiet(library: _Library) -> Iterator[None]:
    """Without the library's log, warnings and progress bars; afterwards all is as it was before."""
    with ExitStack() as undo:
        undo.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        logger = logging.getLogger(library.package)
        undo.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL + 1)
        if library.package == "transformers":
            hub: Any = importlib.import_module("huggingface_hub.utils")
            bars = library.module.utils.logging
            if hub.are_progress_bars_disabled():  # transformers switches the hub's bars along with its own
                undo.callback(hub.disable_progress_bars)
            if bars.is_progress_bar_enabled():
                undo.callback(bars.enable_progress_bar)
            bars.disable_progress_bar()
        yield


# Preparation of pictures.


def _preparation_options(request: ExportRequest) -> str:
    """Why the library's preparation is not the one that was asked for; empty where it is."""
    if request.image_size is not None:
        return f"{option('image_size')} changes it"
    return "options change it" if request.preprocessing != PreprocessingOptions() else ""


def _unknown_preparation(package: str, files: Path) -> str:
    """Why the library does not know how pictures were prepared; empty where it does."""
    if not files.is_dir():
        return "a file of weights does not say how pictures were prepared"
    if package == "transformers":
        return "" if (files / PROCESSOR).is_file() else f"there is no {PROCESSOR}"
    config = read_json(Folder(files), CONFIG) or {}
    cfg = config.get("pretrained_cfg", config)
    return "" if "input_size" in cfg else f"{CONFIG} does not say how pictures were prepared"


def _compare_preparation(library: _Library, prepare: Prepare, model: LoadedModel) -> None:
    others, largest = 0, 0.0
    pictures = photos()
    for photo in pictures:
        ours = normalise(load_pixels(photo, model.preprocessing), model.preprocessing)
        theirs = prepare(photo)
        if ours.shape != theirs.shape:
            sizes = ["x".join(map(str, tensor.shape[1:])) for tensor in (ours, theirs)]
            raise VerificationError(
                library.model,
                f"pictures are prepared to {sizes[0]}, by {library.name} to {sizes[1]}",
                "nothing was written; please report it with the model's name",
            )
        difference = float((ours - theirs).abs().max())
        others += not difference <= SAME_PREPARATION  # not a number is another one too
        largest = max(largest, difference)
    if others:
        raise VerificationError(
            library.model,
            f"{library.name} prepares {others} of {len(pictures)} pictures otherwise, "
            f"by up to {largest:.1e} (limit {SAME_PREPARATION:.0e})",
            "nothing was written; please report it with the model's name",
        )


class _LibraryModel:
    """What references of both libraries have in common."""

    reading: Reading = "library"

    def __init__(self, library: _Library, model: Any) -> None:
        self.name = f"{library.name}, torch {torch.__version__}"
        self._library = library
        self._model = model


# transformers.


class TransformersReference(_LibraryModel):
    """transformers' own model, with eager attention: other kinds give no weights."""

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> ReferenceAnswers:
        """See `ReferenceModel`.

        A model with a head hands out its logits only: the class token is caught behind the encoder, whose last layer
        is the LayerNorm.
        """
        options: dict[str, Any] = {"output_attentions": True} if attention else {}
        if self._model.config.model_type in _RESIZED_WHEN_ASKED:
            options["interpolate_pos_encoding"] = True  # changes nothing at the checkpoint's own size
        tokens: list[torch.Tensor] = []
        with self._library.at_work(), ExitStack() as hooks:
            hook = self._model.base_model.register_forward_hook(
                lambda _module, _args, output: tokens.append(output.last_hidden_state[:, 0])
            )
            hooks.callback(hook.remove)
            answer = self._model(pictures, **options)
            maps = list(answer.attentions) if attention else []
        return ReferenceAnswers(embedding=tokens[0], logits=getattr(answer, "logits", None), attention=maps)


def _from_transformers(library: _Library, files: Path, model: LoadedModel) -> tuple[ReferenceModel, Prepare]:
    """The class that `config.json` names; nothing is downloaded, and no code of a repository is run."""
    del model  # transformers finds out by itself
    (architecture,) = (read_json(Folder(files), CONFIG) or {})["architectures"]
    theirs, report = getattr(library.module, architecture).from_pretrained(
        files,
        dtype=torch.float32,
        attn_implementation="eager",
        local_files_only=True,
        weights_only=True,
        output_loading_info=True,
    )
    missing = sorted(name for name in report["missing_keys"] if not _UNUSED.search(name))
    if missing:  # transformers would make them up
        raise CheckpointError.mismatch(
            library.model, f"{_possessive(library.package)} {architecture}", missing=missing, unexpected=(), reshaped=()
        )

    def prepare(photo: Image.Image) -> torch.Tensor:
        # Pillow's resampling: torchvision's of tensors, the default, gives other bytes.
        processor = library.module.AutoImageProcessor.from_pretrained(
            files, backend="pil", local_files_only=True, trust_remote_code=False
        )
        prepared: torch.Tensor = processor(images=photo, return_tensors="pt")["pixel_values"][0]
        return prepared

    return TransformersReference(library, theirs.eval()), prepare


# timm.


class TimmReference(_LibraryModel):
    """timm's own model."""

    def __call__(self, pictures: torch.Tensor, *, attention: bool) -> ReferenceAnswers:
        """See `ReferenceModel`.

        Attention weights are what timm hands to dropout, where it computes them at all: fused attention does not.
        """
        model = self._model
        maps: list[torch.Tensor] = []
        with self._library.at_work(), ExitStack() as hooks:
            for block in model.blocks if attention else ():
                block.attn.fused_attn = False
                hook = block.attn.attn_drop.register_forward_pre_hook(lambda _module, args: maps.append(args[0]))
                hooks.callback(hook.remove)
            features = model.forward_features(pictures)
            token = model.global_pool == "token"
            embedding = features[:, 0] if token else model.forward_head(features, pre_logits=True)
            logits = model.forward_head(features) if model.num_classes else None
        return ReferenceAnswers(embedding=embedding, logits=logits, attention=maps)


def _from_timm(library: _Library, files: Path, model: LoadedModel) -> tuple[ReferenceModel, Prepare]:
    """The architecture that `config.json`, or the file's name, says; weights are the local ones, never downloaded."""
    timm, arch = library.module, model.architecture
    # Without a size timm would resample positions for its default, where no configuration has another.
    options: dict[str, Any] = {"pretrained": True, "img_size": arch.image_size}
    if files.is_dir():
        theirs = timm.create_model(f"local-dir:{files}", **options)
    else:
        name = files.name.partition(".")[0]
        if not timm.is_model(name):
            raise UsageError(
                option("against", "library"),
                f"timm cannot know what {files.name} is: it has no architecture '{name}'",
                f"call the file as its architecture (vit_base_patch16_224{files.suffix}), or leave the option out",
            )
        # With `file` timm asks no network; heads of another number of classes it would leave out. A custom load is for
        # the format of the weights that timm would download.
        overlay = {"file": str(files), "num_classes": arch.classes, "custom_load": False}
        theirs = timm.create_model(name, pretrained_cfg_overlay=overlay, num_classes=arch.classes, **options)
    if theirs.num_classes != arch.classes:
        raise CheckpointError(library.model, f"has {arch.classes} classes, by {library.name} {theirs.num_classes}")

    def prepare(photo: Image.Image) -> torch.Tensor:
        config = timm.data.resolve_data_config({}, pretrained_cfg=theirs.pretrained_cfg)
        prepared: torch.Tensor = timm.data.create_transform(**config)(photo)
        return prepared

    return TimmReference(library, theirs.eval()), prepare
