"""A process that tries one provider's devices, so that a driver that crashes takes no more than it with it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

from vit_runtime.devices.child import Answers
from vit_runtime.devices.engine import silence_onnxruntime
from vit_runtime.devices.listing import devices_of
from vit_runtime.devices.providers import EXECUTION_PROVIDERS
from vit_runtime.errors import command_line


def main() -> None:
    """Answers with the devices of each provider that its parent asks for."""
    answers = Answers()
    silence_onnxruntime()
    with answers.report_errors():
        for document in answers.asked():
            asked = cast("dict[str, Any]", document)
            with command_line() if asked["command_line"] else nullcontext():
                devices = devices_of(EXECUTION_PROVIDERS[asked["provider"]], asked["processor"])
            answers.answer([vars(device) for device in devices])
