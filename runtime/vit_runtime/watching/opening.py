"""Opens a source with PyAV, which is FFmpeg: from it alone, in formats and with decoders that are listed here."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import urlsplit

from PIL import Image

from vit_runtime.errors import ImageError, MissingDependencyError
from vit_runtime.watching.sources import Kind, Source

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

# FFmpeg reads some 360 formats. Several are lists of other files (m3u8, ffconcat, SDP), which it would open as well.
_FORMATS: Final[dict[Kind, str]] = {
    "file": "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,mjpeg,h264,hevc,ivf",
    "http": "mpjpeg,mjpeg,mpegts,flv",
    "rtsp": "rtsp",
    "camera": "v4l2",
}
_PROTOCOLS: Final[dict[Kind, str]] = {
    "file": "none",  # there is no such protocol: the file is opened here, and FFmpeg opens nothing
    "http": "http,https,tcp,tls",
    "rtsp": "rtsp,rtp,tcp,tls",
    "camera": "none",
}
_DECODERS: Final = (
    "h264,hevc,mjpeg,mpeg4,msmpeg4v3,mpeg1video,mpeg2video,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,wmv2,wmv3,rawvideo"
)
_OPTIONS: Final[dict[Kind, dict[str, str]]] = {
    "file": {},
    # A second of the stream tells what is in it; FFmpeg's own five would pass before the first answer.
    "http": {"analyzeduration": "1000000", "seekable": "0", "tls_verify": "0"},
    "rtsp": {
        "analyzeduration": "1000000",
        "rtsp_transport": "tcp",  # over UDP pictures tear, and firewalls stop them
        "allowed_media_types": "video",
        "tls_verify": "0",  # cameras sign their certificates themselves
    },
    "camera": {},
}
_LARGEST_FRAME: Final = 1 << 26
"""A decoder holds several frames at a time, so that fewer pixels are allowed than in a photo."""
_CUT_OFF: Final = "it may be cut off; else encode it as H.264 in MP4"
_NOT_WHAT_WAS_MEANT: Final[dict[Kind, tuple[str, str]]] = {
    "file": ("not a video in a format that is read here", "use MP4, MOV, MKV, WebM, AVI or MPEG-TS"),
    "http": ("answers with something else than a video stream", "give the address of an MJPEG or MPEG-TS stream"),
    "rtsp": ("answers with something else than a video stream", "give the path that the camera's manual names"),
    "camera": ("is no camera that Video4Linux reads", "`v4l2-ctl --list-devices` lists those that are"),
}


def import_av() -> Any:
    """Imports PyAV when it is needed.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        if error.name != "av":
            raise
        raise MissingDependencyError("PyAV", "vit-edge[camera]") from None
    return av


def largest_frame() -> int:
    """Most pixels of a frame: twice 8K, or what Pillow lets a picture have, where somebody has set that lower."""
    return min(_LARGEST_FRAME, 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else _LARGEST_FRAME)


@contextmanager
def opened(source: Source, timeout: float | None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a source for the length of the block; gives its container and its first stream of video.

    Args:
        source: what to open.
        timeout: seconds for connecting, for what comes first, and for each packet; None waits for ever.

    Raises:
        ImageError: it cannot be opened, is something else, or what is read inside the block cannot be read.
    """
    av = import_av()
    begun = False
    try:
        if source.kind == "file":
            with Path(source.address).open("rb") as file, _open(av, source, file, timeout) as container:
                yield container, _video(container, source)
        else:
            with _open(av, source, source.address, timeout) as container:
                stream = _video(container, source)
                begun = True
                yield container, stream
    except ImageError:
        raise
    except (OSError, av.error.FFmpegError) as error:
        if begun and getattr(error, "errno", None) == errno.EIO:
            raise ImageError(source.shown, "the stream has ended") from None
        # Not "from error": its own text has the address with the password.
        raise _explained(av, error, source, timeout) from None


def packets(container: InputContainer, stream: VideoStream, source: Source) -> Iterator[Packet[VideoStream]]:
    """The packets of a stream.

    Raises:
        ImageError: a further stream begins in the midst, which PyAV stumbles over.
    """
    try:
        yield from container.demux(stream)
    except (IndexError, ValueError) as error:
        if isinstance(error, import_av().error.FFmpegError):  # some of them are ValueErrors as well
            raise
        raise ImageError(source.shown, "cannot be read to its end", "the file may be damaged or cut off") from error


def _open(av: Any, source: Source, file: str | BinaryIO, timeout: float | None) -> InputContainer:
    limits = {
        "format_whitelist": _FORMATS[source.kind],
        "protocol_whitelist": _PROTOCOLS[source.kind],
        "codec_whitelist": _DECODERS,
        "max_pixels": str(largest_frame()),
    }
    container: InputContainer = av.open(
        file,
        "r",
        format="v4l2" if source.kind == "camera" else None,
        options=limits | _OPTIONS[source.kind],
        timeout=timeout,
        metadata_errors="replace",  # a title in other letters than UTF-8 is no fault
    )
    return container


def _video(container: InputContainer, source: Source) -> VideoStream:
    """The first stream of video, its decoder bound to the limits."""
    if not container.streams.video:
        raise ImageError(source.shown, "has no video", "give one with pictures")
    stream = container.streams.video[0]
    decoder = stream.codec_context
    if decoder is None:  # to PyAV's types there always is one
        raise ImageError(source.shown, "has video of a kind that is not stated or not read here", _CUT_OFF)
    if decoder.width * decoder.height > largest_frame():
        what = f"has frames of {decoder.width}x{decoder.height} pixels, more than {largest_frame():,}"
        raise ImageError(source.shown, what, "scale it down first")
    decoder.options = {"codec_whitelist": _DECODERS, "max_pixels": str(largest_frame())}
    return stream


def _explained(av: Any, error: Exception, source: Source, timeout: float | None) -> ImageError:
    """Says in one line why a source could not be read, without FFmpeg's own text, which shows passwords."""
    errors = av.error
    reason = " ".join(str(getattr(error, "strerror", None) or type(error).__name__).split())
    if isinstance(error, (errors.ExitError, TimeoutError)):  # PyAV's clock, or the system's
        waited = "in time" if timeout is None else f"for {timeout:g} s"
        what, remedy = f"sends no frame {waited}", "look whether it is on, or raise the timeout"
    elif isinstance(error, errors.HTTPUnauthorizedError):
        what, remedy = "wants a user's name and password", "write USER:PASSWORD@ in front of the host"
    elif isinstance(error, (errors.HTTPError, errors.HTTPClientError)):
        what, remedy = f"is refused ({reason})", "look at the address's path"
    elif isinstance(error, (errors.InvalidDataError, errors.ArgumentError, errors.DecoderNotFoundError)):
        # A format that is not listed is an invalid argument to FFmpeg, and so is a device that is no camera.
        what, remedy = _NOT_WHAT_WAS_MEANT[source.kind]
    elif source.kind == "camera" and isinstance(error, PermissionError):
        what, remedy = "may not be read by this user", "add the user to the group `video`"
    elif source.kind in ("http", "rtsp") and getattr(error, "errno", None) == errno.EIO:
        # FFmpeg's word for an answer that ends before it has become a stream, and for a name that nobody knows.
        known = _is_known(source.address)
        what, remedy = _NOT_WHAT_WAS_MEANT[source.kind] if known else ("its host is not found", "look at its spelling")
    else:
        what, remedy = f"cannot be read ({reason})", _NOT_WHAT_WAS_MEANT["camera"][1] if source.kind == "camera" else ""
    return ImageError(source.shown, what, remedy)


def _is_known(address: str) -> bool:
    """Whether an address's host has a number."""
    try:
        return bool(socket.getaddrinfo(urlsplit(address).hostname, None))
    except (OSError, ValueError):
        return False
