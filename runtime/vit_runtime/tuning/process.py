"""A file on one provider in a process of its own, which `vit_runtime.tuning.worker` is."""

from __future__ import annotations

from typing import Final, TypeVar

from vit_runtime.artifact import codec
from vit_runtime.devices.child import PATIENCE, Child, ChildError
from vit_runtime.devices.providers import SLOW_TO_START
from vit_runtime.errors import ProviderError
from vit_runtime.tuning.worker import Measured, Opened, Task

_LONG_PATIENCE: Final = 3600.0
"""Seconds to wait for a provider that compiles for minutes."""
_Answer = TypeVar("_Answer", Opened, Measured)


class TrialProcess:
    """A process that has opened a file, has tried its self-test, and can be measured."""

    def __init__(self, task: Task) -> None:
        """Starts the process and opens the file.

        Raises:
            ProviderError: the file cannot be opened or run in this setting, or the process crashed over it.
        """
        self._where = f"provider '{task.setting.provider}'"
        slow = task.setting.provider in SLOW_TO_START
        self._child = Child("vit_runtime.tuning.worker", _LONG_PATIENCE if slow else PATIENCE)
        try:
            self.opened = self._ask(codec.encode(task), Opened)
        except BaseException:
            self.close()
            raise

    def measure(self, seconds: float) -> Measured:
        """Runs the graph for some seconds.

        Raises:
            ProviderError: it cannot be run, or the process crashed over it.
        """
        return self._ask(seconds, Measured)

    def close(self) -> None:
        """Ends the process; a second call does nothing."""
        self._child.close()

    def _ask(self, document: object, kind: type[_Answer]) -> _Answer:
        try:
            return codec.decode(kind, self._child.ask(document))
        except ChildError as error:
            raise ProviderError(self._where, str(error)) from error
