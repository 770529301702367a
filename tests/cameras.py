"""Videos and cameras for tests: files that PyAV writes, and a server of MJPEG whose faults the test decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from PIL import Image

from vit_runtime.arrays import UInt8Array

_SIDE, _BLOCK = 4, 16
LARGEST_NUMBER = 2 ** (_SIDE * _SIDE) - 1

Send = Callable[[bytes], None]
Play = Callable[[int, Send, threading.Event], None]
"""What the server does with a connection: its number from 0, a function that sends a JPEG, and the server's end."""


def numbered(number: int) -> UInt8Array:
    """A picture (64, 64, 3) that shows a number as black and white blocks, which survive any codec."""
    bits = np.array([number >> place & 1 for place in range(_SIDE * _SIDE)], np.uint8).reshape(_SIDE, _SIDE)
    return (bits * 255).repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)[..., None].repeat(3, axis=2)


def number_of(picture: UInt8Array | Image.Image) -> int:
    """The number that a picture of `numbered` shows."""
    blocks = np.asarray(picture)[..., 1].reshape(_SIDE, _BLOCK, _SIDE, _BLOCK).mean(axis=(1, 3)).ravel()
    return sum(int(value > 127) << place for place, value in enumerate(blocks))


def jpeg(picture: UInt8Array) -> bytes:
    """A picture's JPEG file."""
    Image.fromarray(picture).save(file := BytesIO(), "JPEG", quality=90)
    return file.getvalue()


def write_video(path: Path, pictures: Iterable[UInt8Array], *, rate: int = 10, codec: str = "libx264") -> Path:
    """Writes pictures of one size, in the order given, as a video of `rate` frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in pictures:
            if not stream.codec_context.is_open:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@contextmanager
def http_server(handle: Callable[[BaseHTTPRequestHandler, int], None]) -> Iterator[str]:
    """Serves on this machine; `handle` gets each request and its number. Gives the address, without a path."""
    numbers = iter(range(1_000_000))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):  # whoever watched has gone
                handle(self, next(numbers))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def mjpeg_server(play: Play) -> Iterator[str]:
    """A camera as many are: JPEG after JPEG in one answer over HTTP. Gives its address."""
    ended = threading.Event()

    def handle(request: BaseHTTPRequestHandler, number: int) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()

        def send(picture: bytes) -> None:
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            request.wfile.write(head.encode() + picture + b"\r\n")
            request.wfile.flush()

        play(number, send, ended)

    with http_server(handle) as address:
        try:
            yield f"{address}/stream"
        finally:
            ended.set()
