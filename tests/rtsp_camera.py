"""A camera of RTSP (RFC 2326) for tests, as small as it can be: H.264 in RTP (RFC 6184) inside the one connection."""

from __future__ import annotations

import base64
import re
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction

import av
from tests.cameras import numbered

_RATE = 20
_CLOCK = 90_000
_SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:video\r\n"
)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        with suppress(ConnectionError):
            while (request := self._request()) is not None:
                self._answer(*request)

    def _request(self) -> tuple[str, dict[str, str]] | None:
        head = self.rfile.readline().decode().split()
        if len(head) != 3:
            return None
        headers = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return head[0], headers

    def _answer(self, method: str, headers: dict[str, str]) -> None:
        if self.server.secret and headers.get("authorization") != f"Basic {self.server.secret}":
            self._reply("401 Unauthorized", headers, 'WWW-Authenticate: Basic realm="camera"\r\n')
        elif method == "DESCRIBE":
            self._reply("200 OK", headers, f"Content-Type: application/sdp\r\nContent-Length: {len(_SDP)}\r\n", _SDP)
        elif method == "SETUP" and "TCP" not in headers["transport"]:
            self._reply("461 Unsupported Transport", headers)
        elif method == "SETUP":
            self._reply("200 OK", headers, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n")
        elif method == "PLAY":
            self._reply("200 OK", headers, "Session: 1\r\n")
            self.server.connections += 1
            self._play(self.server.connections - 1)
        else:
            self._reply("200 OK", headers, "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n")

    def _reply(self, status: str, headers: dict[str, str], more: str = "", body: str = "") -> None:
        self.wfile.write(f"RTSP/1.0 {status}\r\nCSeq: {headers['cseq']}\r\n{more}\r\n{body}".encode())

    def _play(self, connection: int) -> None:
        """Sends two seconds of numbered pictures, and ends the first connection behind them."""
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width = encoder.height = 64
        encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, _RATE)
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
        sequence = 0
        for number in range(10_000):
            if self.server.ended.is_set() or (connection == 0 and number == 2 * _RATE):
                raise ConnectionError
            frame = av.VideoFrame.from_ndarray(numbered(1000 * connection + number), format="rgb24")
            frame.pts = number
            for packet in encoder.encode(frame):
                units = [unit for unit in re.split(rb"\x00\x00\x00?\x01", bytes(packet)) if unit]
                for unit in units:
                    marker = 0x80 if unit is units[-1] else 0
                    stamp = number * _CLOCK // _RATE
                    rtp = struct.pack(">BBHII", 0x80, 96 | marker, sequence & 0xFFFF, stamp, 1) + unit
                    self.wfile.write(b"$\0" + struct.pack(">H", len(rtp)) + rtp)
                    sequence += 1
            time.sleep(1 / _RATE)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, password: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secret = base64.b64encode(password.encode()).decode()
        self.connections = 0
        self.ended = threading.Event()


@contextmanager
def rtsp_camera(password: str = "") -> Iterator[str]:
    """Gives the address of a camera that asks for "USER:PASSWORD" where one is given; its first connection breaks."""
    server = _Server(password)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"rtsp://127.0.0.1:{server.server_address[1]}/live"
    finally:
        server.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
