"""A model's files: a local folder, or a repository of the Hugging Face hub."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from vit_export.errors import CheckpointError, DownloadError
from vit_export.progress import Progress
from vit_export.read.state_dict import StateDict, read_state_dict, sha256
from vit_runtime.errors import one_line

CONFIG: Final = "config.json"
_WEIGHTS: Final = ("model.safetensors", "pytorch_model.bin")
"""Names of files of weights, the preferred one first; each may be split into shards that an index lists."""
_OTHERS: Final = ("tf_model.h5", "flax_model.msgpack", "model.npz", "model.onnx")
"""Names of files of weights that only other programs read."""
_MOST_JSON_BYTES: Final = 16 << 20
"""Largest JSON file read: parsed, it takes up to twenty times its size. ImageNet-21k's configuration has 2 MB."""
_MOST_HEADER: Final = 1 << 16
_LICENCE: Final = re.compile(r"^license:\s*(\S+)", re.MULTILINE)


class Repository(Protocol):
    """A model's files, by name."""

    name: str
    """What to call the model."""
    source: str
    """Where the weights are from, as the artifact states it: never a path of this machine."""
    where: str
    """What to call the place in a message."""

    def find(self, file: str) -> Path | None:
        """Gives the local path of a file; None where there is no file of that name.

        Raises:
            DownloadError: the file cannot be fetched.
        """

    def glance(self, file: str) -> Path | None:
        """Finds a file that is not worth waiting for; gives None also where it needs a network that may be down."""


class Folder:
    """A local folder."""

    def __init__(self, path: Path) -> None:
        self.name = self.source = path.resolve().name
        self.where = str(path)
        self._path = path

    def find(self, file: str) -> Path | None:
        """See `Repository`."""
        path = self._path / file
        return path if os.path.isfile(path) else None  # noqa: PTH113 - unlike Path.is_file it takes names too long

    def glance(self, file: str) -> Path | None:
        """See `Repository`."""
        return self.find(file)


class Hub:
    """A repository of the Hugging Face hub; files in the hub's local cache are not looked up again."""

    def __init__(self, repository: str, progress: Progress) -> None:
        """Takes an id such as `google/vit-base-patch16-224`, followed by `@revision` for another than the newest."""
        self._id, _, revision = repository.partition("@")
        self._revision = revision or None
        self._progress = progress
        self._online = False
        self.name = self._id.rpartition("/")[2]
        self.where = self.source = repository

    def find(self, file: str) -> Path | None:
        """See `Repository`."""
        from huggingface_hub import errors as hub
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        known = try_to_load_from_cache(self._id, file, revision=self._revision)
        if isinstance(known, str):
            return Path(known)
        if known is not None:  # the cache remembers that there is no such file
            return None
        self._progress.note(f"fetching {file} of {self.where} from the Hugging Face hub")
        try:
            with _quiet():
                path = hf_hub_download(self._id, file, revision=self._revision)
        except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled) as error:
            raise self._unreachable("the hub cannot be reached") from error
        except hub.GatedRepoError as error:
            raise DownloadError(
                self.where, "asks for its terms to be accepted", "accept them on its page, then run: hf auth login"
            ) from error
        except hub.RepositoryNotFoundError as error:
            raise DownloadError(
                self.where,
                "no such repository, or a private one",
                "check the id at huggingface.co/models; for a private one run: hf auth login",
            ) from error
        except hub.RevisionNotFoundError as error:
            raise DownloadError(self.where, "has no such revision", "leave @revision out for the newest") from error
        except hub.EntryNotFoundError:
            return None
        except Exception as error:  # HTTP and sockets raise many classes of errors
            raise self._unreachable(one_line(error)) from error
        self._online = True
        return Path(path)

    def glance(self, file: str) -> Path | None:
        """See `Repository`: asks the hub only if it has just answered."""
        from huggingface_hub import try_to_load_from_cache

        known = try_to_load_from_cache(self._id, file, revision=self._revision)
        if isinstance(known, str):
            return Path(known)
        try:
            return self.find(file) if self._online else None
        except DownloadError:
            return None

    def _unreachable(self, reason: str) -> DownloadError:
        page = f"huggingface.co/{self._id}"
        return DownloadError(
            self.where,
            f"cannot be downloaded ({reason})",
            "on another machine fetch config.json, model.safetensors and, if there, preprocessor_config.json and the "
            f"tokenizer's files (tokenizer*.json) from {page}, put them into one folder, and give that folder",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the hub's client from reporting each try; the outcome is reported in one line."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def read_json(repository: Repository, file: str) -> dict[str, Any] | None:
    """Reads a JSON object from a file; None where there is no such file.

    Raises:
        CheckpointError: the file holds no JSON object.
    """
    path = repository.find(file)
    if path is None:
        return None
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise CheckpointError(path, f"has more than {_MOST_JSON_BYTES >> 20} MiB", "fetch it again")
        document = json.loads(path.read_text(encoding="utf-8"))
    except CheckpointError:
        raise
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(path, f"no JSON file ({one_line(error)})", "fetch it again") from error
    if not isinstance(document, dict):
        raise CheckpointError(path, "holds no JSON object", "fetch it again")
    return document


def folder_of(repository: Repository, file: str = CONFIG) -> Path | None:
    """Gives the local folder of a repository's file; for a hub repository it is in the hub's cache."""
    config = repository.find(file)
    return None if config is None else config.parent


def read_weights(repository: Repository, progress: Progress, names: Sequence[str] = _WEIGHTS) -> tuple[StateDict, str]:
    """Reads all weights, from one file or several shards, and gives them with the SHA-256 of these files.

    Args:
        repository: where they are.
        progress: told which file is read.
        names: what the file may be called, the preferred name first.

    Raises:
        CheckpointError: there are no weights, a shard is missing, or a file cannot be read safely.
    """
    paths = _weight_files(repository, names)
    state: StateDict = {}
    for path in paths:
        progress.stage(f"reading {path.name}")
        state |= read_state_dict(path)
    return state, sha256(*paths)


def _weight_files(repository: Repository, names: Sequence[str]) -> list[Path]:
    for name in names:
        if path := repository.find(name):
            return [path]
        index = read_json(repository, f"{name}.index.json")
        if index is not None:
            return _shards(repository, index, f"{name}.index.json")
    if others := [name for name in _OTHERS if repository.find(name)]:
        raise CheckpointError(
            repository.where,
            f"holds weights for other programs only ({', '.join(others)})",
            "convert them to model.safetensors with the program that they are for",
        )
    raise CheckpointError(
        repository.where, f"holds no weights: neither {' nor '.join(names)}", "put one of them into the same folder"
    )


def _shards(repository: Repository, index: dict[str, Any], file: str) -> list[Path]:
    placed = index.get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(isinstance(shard, str) for shard in placed.values()):
        raise CheckpointError(f"{repository.where}/{file}", "lists no shards", "fetch it again")
    paths = []
    for shard in sorted(set(placed.values())):
        path = repository.find(Path(shard).name)
        if path is None:
            raise CheckpointError(
                repository.where, f"{shard} is missing, which {file} lists", "fetch it into the same folder"
            )
        paths.append(path)
    return paths


def licence(repository: Repository) -> str | None:
    """Gives the licence that the repository's README states in its header; None where it states none."""
    path = repository.glance("README.md")
    if path is None:
        return None
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            header = file.read(_MOST_HEADER).split("\n---", 1)[0]
    except OSError:  # an export can do without a licence
        return None
    found = _LICENCE.search(header)
    return found.group(1).strip("\"'") if found else None
