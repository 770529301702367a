"""`Service`: `vit-run serve` in a process of its own, as users start it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

_START = "from vit_runtime.cli import main; main()"
_PATIENCE = 60.0


class Service:
    """A service on a free port; it can be started again after it has ended."""

    def __init__(
        self, models: list[str | Path], *, index: Path | None = None, token: str = "", hosts: list[str] | None = None
    ) -> None:
        self.models, self.index = models, index
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        options = ["--port", self.port, *(["--index", index] if index else []), *(["--token", token] if token else [])]
        options += [text for host in hosts or [] for text in ("--allow-host", host)]
        self._command = [sys.executable, "-c", _START, "serve", *map(str, [*models, *options])]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the service, and waits until it answers."""
        with tempfile.TemporaryFile() as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=dict(os.environ))
            until = time.monotonic() + _PATIENCE
            while not self._answers():
                if self._process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise AssertionError(f"the service does not start: {log.read().decode()}")
                time.sleep(0.1)

    def stop(self) -> None:
        """Ends the service, as systemd would; it may have ended already."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_PATIENCE)
            self._process = None

    def _answers(self) -> bool:
        try:
            with urlopen(self.url + "readyz", timeout=5) as response:  # noqa: S310 - http, to this machine
                return bool(response.status == 200)
        except (URLError, ConnectionError, TimeoutError):
            return False

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
