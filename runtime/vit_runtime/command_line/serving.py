"""`vit-run serve`: answers over HTTP, with a page."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from PIL import Image

from vit_runtime.artifact.digest import stored_digest
from vit_runtime.command_line.console import note, report_errors
from vit_runtime.command_line.options import (
    DecodeOption,
    DeviceOption,
    MaxPixelsOption,
    MaxSecondsOption,
    NoProfileOption,
    ProviderOption,
    ThreadsOption,
    limits_of,
)
from vit_runtime.command_line.running import Choice, load_model
from vit_runtime.command_line.serving_options import (
    TOKEN_VARIABLE,
    AllowHostOption,
    AllowOriginOption,
    HostOption,
    IdleUnloadOption,
    IndexOption,
    MaxBodyOption,
    MaxPicturesOption,
    ModelsOfService,
    NoTokenOption,
    PortOption,
    QueueOption,
    ServicePurposeOption,
    TokenOption,
)
from vit_runtime.errors import ArtifactError, IndexFileError, MissingDependencyError, UsageError
from vit_runtime.model import ViT
from vit_runtime.pictures.preprocess import load_pixels
from vit_runtime.selftest import problem

if TYPE_CHECKING:
    from vit_runtime.searching.index import Index
    from vit_runtime.serving.shelf import Shelf

_PACKAGES: Final = ("starlette", "uvicorn", "multipart", "prometheus_client")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LEAST_TOKEN: Final = 16
_BODIES: Final = 4
"""Bodies of the largest size that are in memory at a time."""


def serve(
    models: ModelsOfService,
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    index: IndexOption = None,
    token: TokenOption = None,
    no_token: NoTokenOption = False,
    allow_host: AllowHostOption = None,
    allow_origin: AllowOriginOption = None,
    idle_unload: IdleUnloadOption = None,
    queue: QueueOption = 64,
    max_pictures: MaxPicturesOption = 32,
    max_body: MaxBodyOption = 64 << 20,
    max_pixels: MaxPixelsOption = 50_000_000,
    max_seconds: MaxSecondsOption = 10.0,
    decode: DecodeOption = "exact",
    purpose: ServicePurposeOption = "throughput",
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    no_profile: NoProfileOption = False,
) -> None:
    """Answer over HTTP: a page for people, JSON and the open inference protocol for programs."""
    with report_errors():
        _check_installed()
        from vit_runtime.serving.app import application
        from vit_runtime.serving.guards import Rules, loopback_names
        from vit_runtime.serving.limits import ServiceLimits
        from vit_runtime.serving.server import address_of, listen, run
        from vit_runtime.serving.service import Service

        is_local = _is_loopback(host)
        _check_token(token, host, may_lack=is_local or no_token)
        if not is_local and token is None and not allow_host:
            note("warning: with --no-token, name this machine by --allow-host, or pages of any site can ask")
        if idle_unload is not None and not 0 < idle_unload < math.inf:
            raise UsageError("--idle-unload", f"{idle_unload:g} is no time", "give seconds above 0")
        origins = frozenset(map(_origin, allow_origin or ()))
        hosts = loopback_names(host, allow_host or ()) if is_local or allow_host else None
        listening = listen(host, port)
        choice, limits = Choice(provider, threads, device, no_profile), limits_of(max_pixels, max_body, max_seconds)
        shelf = _shelf(models, partial(load_model, choice=choice, purpose=purpose, decode=decode, limits=limits), index)
        within = ServiceLimits(
            body_bytes=max_body, held_bytes=_BODIES * max_body, pictures=min(max_pictures, queue), queue=queue
        )
        app = application(Service(shelf, within, idle_unload), Rules(token=token, origins=origins, hosts=hosts))
        run(app, listening, lambda: note(f"{address_of(listening)}: open this in a browser; Ctrl-C ends it"))
        note("ended")


def _check_installed() -> None:
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingDependencyError(package, "vit-edge[serve]")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_token(token: str | None, host: str, *, may_lack: bool) -> None:
    if token is None:
        if not may_lack:
            told = f"anyone who reaches {host} could ask"
            raise UsageError("--host", told, f"set a token by {TOKEN_VARIABLE}, or add --no-token")
        return
    if len(token) < _LEAST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        told = f"a token should be {_LEAST_TOKEN} or more letters and digits, without spaces"
        raise UsageError("--token", told, "make one: openssl rand -hex 16")


def _origin(url: str) -> str:
    """An origin as browsers spell it: scheme, host and port, in small letters and without a slash."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query:
        raise UsageError("--allow-origin", f"{url} is no site", "give it as https://example.org")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _shelf(models: list[str], opening: Callable[[Path], ViT], index: Path | None) -> Shelf:
    from vit_runtime.serving.shelf import Place, Shelf

    paths: dict[str, Path] = {}
    for text in models:
        name, path = _named(text)
        if name in paths:
            raise UsageError("MODEL", f"two models are called {name}", "name one of them: NAME=MODEL.onnx")
        paths[name] = path
    kept = None if index is None else _open(index, list(paths.values()))
    places = []
    for name, path in paths.items():
        load = partial(_load, path, opening)
        vit = load()
        places.append(Place(name, vit, load, kept if kept is not None and kept.model == stored_digest(path) else None))
    return Shelf(places)


def _named(text: str) -> tuple[str, Path]:
    """Parts NAME=PATH; a file that is there is a path, whatever its name."""
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        name, path = Path(text).stem, text
    if not _NAME.fullmatch(name):
        told = f"'{name[:80]}' cannot be a model's name in an address"
        raise UsageError("MODEL", told, "name it with letters, digits, dots and dashes: NAME=MODEL.onnx")
    return name, Path(path)


def _load(path: Path, opening: Callable[[Path], ViT]) -> ViT:
    """Loads a model that passes its self-test, and reads a picture: the first one takes a tenth of a second more."""
    vit = opening(path)
    if wrong := problem(vit, vit.artifact.self_test):
        vit.close()
        raise ArtifactError(path, wrong, "see vit-run check")
    encoded = BytesIO()
    Image.new("RGB", (8, 8)).save(encoded, "JPEG")
    load_pixels(encoded.getvalue(), vit.artifact.preprocessing)
    return vit


def _open(index: Path, models: list[Path]) -> Index:
    """Opens an index, and checks that one of the models has made it."""
    from vit_runtime.searching.index import open_index

    for model in models[:-1]:
        try:
            return open_index(index, model)
        except IndexFileError:
            continue
    return open_index(index, models[-1])
