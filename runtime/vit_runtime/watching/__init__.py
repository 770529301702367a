"""Watches a video, a camera or a stream: the newest frame's answer, again and again.

>>> import vit_runtime as vit
>>> from vit_runtime.watching import watch
>>> model = vit.load("model.onnx")  # doctest: +SKIP
>>> for seen in watch(model, "rtsp://camera.local/stream", every=1, on_change=True):  # doctest: +SKIP
...     print(seen.time, seen.predictions[0].label)
"""

from vit_runtime.watching.live import Patience
from vit_runtime.watching.watch import Seen, watch

__all__ = ["Patience", "Seen", "watch"]
