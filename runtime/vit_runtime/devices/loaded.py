"""What every loaded model is: a session that is held until the model is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from vit_runtime.devices.session import OpenedSession
from vit_runtime.devices.threads import default_threads
from vit_runtime.errors import UsageError

if TYPE_CHECKING:
    import onnxruntime as ort
    from typing_extensions import Self


class Loaded:
    """A model in an onnxruntime session. `close`, or a `with` block, gives its memory back."""

    def __init__(self, model: str, precision: str, opened: OpenedSession) -> None:
        self._named = f"{model}, {precision}"
        self._model = model
        self.provider = opened.provider
        """onnxruntime's name of the execution provider that computes the graph."""
        self.choice = opened.choice
        """What to give as `provider` to get the same: "openvino:gpu"."""
        self.threads = opened.threads
        """Processor cores that one run uses; None for an accelerator."""
        self.runs_at_once = opened.runs
        """Runs at a time that the session is good at."""
        self.note = opened.note
        """What a user should know of how it was opened; else empty."""
        self.prepared_copy = opened.copy
        """Folder of the prepared copy that was mapped; None where the file itself was loaded."""
        self._session: ort.InferenceSession | None = opened.session

    def __repr__(self) -> str:
        closed = ", closed" if self._session is None else ""
        about = f"{self._named}, {self.provider}, threads={self.threads}"
        about += "" if self.runs_at_once == 1 else f", {self.runs_at_once} runs at once"
        return f"{type(self).__name__}({about}{closed})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled: load it in each process, for example with "
            "multiprocessing.Pool(initializer=...), and send what it reads and what it answers between them"
        )

    @property
    def workers(self) -> int:
        """Pictures or texts that are worked on at a time, where there are several."""
        return default_threads() if self.threads is None else self.threads * self.runs_at_once

    def close(self) -> None:
        """Frees the session and its memory; afterwards the model gives no answers, and a second call does nothing."""
        self._session = None

    def _open_session(self) -> ort.InferenceSession:
        """The session, unless the model is closed: then a `UsageError`."""
        session = self._session
        if session is None:
            raise UsageError(self._model, "is closed", "load it again")
        return session
