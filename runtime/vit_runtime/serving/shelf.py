"""The models of a service, by name: loaded when they are asked for, and unloaded when nobody has asked for long."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

from vit_runtime.artifact import Artifact
from vit_runtime.devices.memory import release_freed_memory
from vit_runtime.errors import VitEdgeError
from vit_runtime.model import ViT
from vit_runtime.searching.index import Index
from vit_runtime.serving.desk import Desk
from vit_runtime.serving.refusals import Refusal

_LOOK_AGAIN: Final = 0.5


class Place:
    """A model of the service, loaded or not."""

    def __init__(self, name: str, vit: ViT, load: Callable[[], ViT], index: Index | None = None) -> None:
        """Starts with a model that is loaded.

        Args:
            name: what requests call it.
            vit: the model.
            load: loads it again.
            index: pictures to compare with.
        """
        self.name, self.index = name, index
        self._describe(vit)
        self.failure = ""
        """Why it could not be loaded the last time; empty where it was."""
        self._load = load
        self._vit: ViT | None = vit
        self._desk: Desk | None = Desk(vit)
        self._users = 0
        self._used = time.monotonic()
        self._lock = asyncio.Lock()

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._vit is not None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[ViT, Desk]]:
        """Gives the model, loaded if need be, and keeps it loaded until the block ends.

        Raises:
            Refusal: it cannot be loaded.
        """
        async with self._lock:
            if self._vit is None or self._desk is None:
                self._vit = await self._loaded()
                self._desk = Desk(self._vit)
            vit, desk = self._vit, self._desk
            self._users += 1
        try:
            yield vit, desk
        finally:
            self._users -= 1
            self._used = time.monotonic()

    async def unload_if_idle(self, seconds: float) -> None:
        """Gives the model's memory back if nobody has asked for it for so long."""
        async with self._lock:
            if self._vit is not None and not self._users and time.monotonic() - self._used >= seconds:
                await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Ends the model's workers, and gives its memory back."""
        vit, desk = self._vit, self._desk
        self._vit = self._desk = None
        if vit is None or desk is None:
            return
        desk.close()
        vit.close()
        del vit, desk
        gc.collect()
        release_freed_memory()

    def _describe(self, vit: ViT) -> None:
        """Keeps what can be told while the model is not loaded."""
        self.path: Path = vit.path
        self.artifact: Artifact = vit.artifact
        self.picture_limits = vit.limits
        self.engine, self.threads, self.note = vit.provider, vit.threads, vit.note

    async def _loaded(self) -> ViT:
        try:
            vit = await asyncio.to_thread(self._load)
        except VitEdgeError as error:
            self.failure = str(error)
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"the model cannot be loaded: {error}") from error
        self.failure = ""
        self._describe(vit)
        return vit


class Shelf:
    """The models of a service."""

    def __init__(self, places: list[Place]) -> None:
        self._places: Mapping[str, Place] = {place.name: place for place in places}
        self.default = places[0]

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def place(self, name: str | None) -> Place:
        """Gives a model by its name, the first one where no name is given.

        Raises:
            Refusal: there is no such model.
        """
        if name is None:
            return self.default
        if name not in self._places:
            known = ", ".join(self._places)
            raise Refusal(HTTPStatus.NOT_FOUND, f"no model '{name[:80]}' here; there is {known}")
        return self._places[name]

    async def unload_idle(self, seconds: float) -> None:
        """Unloads what nobody has asked for, for as long as the service runs."""
        while True:
            await asyncio.sleep(min(_LOOK_AGAIN, seconds / 2))
            for place in self:
                await place.unload_if_idle(seconds)

    def close(self) -> None:
        """Ends all models."""
        for place in self:
            place.close()
