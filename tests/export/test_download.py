"""Published weights that are not in the cache: fetched where there is a network, and a clear line where there is none.

No test here leaves the machine: sockets are closed, or the server is one of the test's own.
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import threading
import time
import urllib.request
from http.client import HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import torch
from torchvision.models import get_model, get_model_weights

from vit_export.errors import DownloadError
from vit_export.progress import Silent
from vit_export.read.prepare import read_and_prepare
from vit_export.request import ExportRequest

ENTRY = get_model_weights("vit_b_32").IMAGENET1K_V1


@pytest.fixture
def hub(folder, monkeypatch) -> Path:
    """torch.hub's cache, empty; the folder where published files go."""
    monkeypatch.setenv("TORCH_HOME", str(folder / "hub"))
    return folder / "hub" / "hub" / "checkpoints"


def no_route(*_args: object, **_kwargs: object) -> None:
    raise OSError(101, "Network is unreachable")


def no_download(*_args: object, **_kwargs: object) -> None:
    raise URLError(OSError(-3, "Temporary failure in name resolution"))


@pytest.fixture(params=["no name server", "no route"])
def no_network(request, monkeypatch):
    if request.param == "no name server":
        monkeypatch.setattr(torch.hub, "download_url_to_file", no_download)
    else:
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [address])
        monkeypatch.setattr(socket, "socket", no_route)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("words", "entry"),
    [
        (["vit_b_16"], get_model_weights("vit_b_16").IMAGENET1K_V1),
        (["vit_l_16", "--weights", "IMAGENET1K_SWAG_E2E_V1"], get_model_weights("vit_l_16").IMAGENET1K_SWAG_E2E_V1),
    ],
    ids=["default", "named"],
)
def test_without_a_network_one_line_says_what_to_do(words, entry, vit_export_cli, hub, folder, files_in):
    result = vit_export_cli(*words, "-o", folder)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.stderr.endswith(line + "\n")
    assert f"{entry.url}: cannot be downloaded" in line
    assert str(hub / entry.url.rpartition("/")[2]) in line
    assert f"or try {words[0]} without trained weights: --weights random" in line
    assert re.search("unreachable|name resolution", line)
    assert files_in(folder) == []


@pytest.mark.usefixtures("hub")
def test_a_certificate_that_is_out_of_its_time_points_to_the_clock(folder, vit_export_cli, monkeypatch):
    """A board without a battery starts in the past until it has asked for the time."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        words = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate is not yet valid (_ssl.c:1006)"
        raise URLError(ssl.SSLCertVerificationError(1, words))

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    result = vit_export_cli("vit_b_16", "-o", folder)
    assert result.exit_code == 1
    line = result.stderr.splitlines()[-1]
    assert "certificate is not yet valid" in line
    assert re.search(
        r"this machine's clock says \d{4}-\d\d-\d\d \d\d:\d\d, set it if that is wrong; otherwise fetch", line
    )


@pytest.mark.usefixtures("no_network")
def test_a_file_that_was_put_into_the_cache_by_hand_needs_no_network(hub, weights_file, publish):
    digest = hashlib.sha256(weights_file).hexdigest()
    path = publish(ENTRY, digest)
    assert path.parent == hub
    hub.mkdir(parents=True)
    path.write_bytes(weights_file)
    assert read_and_prepare(ExportRequest(model="vit_b_32"), Silent()).source.sha256 == digest


# A server that behaves, and servers that do not.


@pytest.fixture
def weights_file(folder) -> bytes:
    """A file with the names and shapes of vit_b_32, and all its weights zero."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in get_model("vit_b_32").state_dict().items()}
    torch.save(
        {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}, folder / "weights.pth"
    )
    content = (folder / "weights.pth").read_bytes()
    (folder / "weights.pth").unlink()
    return content


@pytest.fixture
def serve(monkeypatch, hub):  # noqa: ARG001 - the cache is empty before anything is fetched
    """`serve(answer)`: a web server that torch.hub takes for PyTorch's; `answer` writes its reply."""
    opened: list[ThreadingHTTPServer | HTTPResponse | HTTPError] = []

    def start(answer) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_args: object) -> None:
                pass

        def urlopen(_request: object) -> HTTPResponse:
            try:
                response = urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/file")
            except HTTPError as error:
                opened.append(error)
                raise
            opened.append(response)  # torch.hub leaves it to the garbage collector to close it
            return response

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        opened.append(server)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(torch.hub, "urlopen", urlopen)

    yield start
    for item in opened:
        if isinstance(item, ThreadingHTTPServer):
            item.shutdown()
            item.server_close()
        else:
            item.close()


def reply(content: bytes, *, length: int | None = None, status: int = 200):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def test_a_download_is_kept_in_torch_hubs_cache(serve, hub, weights_file, publish):
    digest = hashlib.sha256(weights_file).hexdigest()
    publish(ENTRY, digest)
    serve(reply(weights_file))
    loaded = read_and_prepare(ExportRequest(model="vit_b_32"), Silent())
    assert loaded.source.sha256 == digest
    assert [path.name for path in hub.iterdir()] == [f"vit_b_32-{digest[:8]}.pth"]


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (reply(b"gone", status=404), "Not Found"),
        (reply(b"busy", status=503), "Service Unavailable"),
        (reply(b"<html>please log in</html>"), "hash|SHA-256|digest"),
        (reply(b"the first part", length=5000), "hash|SHA-256|digest|incomplete|IncompleteRead|ends"),
    ],
    ids=["not_found", "unavailable", "login_page", "connection_cut"],
)
def test_a_download_that_fails_says_so_and_leaves_nothing(answer, cause, serve, hub):
    serve(answer)
    with pytest.raises(DownloadError, match=cause) as caught:
        read_and_prepare(ExportRequest(model="vit_b_32"), Silent())
    message = str(caught.value)
    assert message.startswith(f"{ENTRY.url}: ")
    assert f"put it at {hub / 'vit_b_32-d86f8d99.pth'}" in message
    assert "free the disk" not in message
    assert list(hub.iterdir()) == []


@pytest.mark.parametrize("bytes_first", [0, 100])
def test_a_server_that_falls_silent_is_given_up(bytes_first, serve, hub, monkeypatch):
    limit = socket.setdefaulttimeout
    asked: list[float | None] = []

    def sooner(seconds: float | None) -> None:
        """A hundred times sooner, so that the test need not wait."""
        asked.append(seconds)
        limit(None if seconds is None else seconds / 100)

    monkeypatch.setattr(socket, "setdefaulttimeout", sooner)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if bytes_first:
            reply(bytes(bytes_first), length=5000)(handler)
        time.sleep(3)

    serve(answer)
    start = time.monotonic()
    with pytest.raises(DownloadError, match="timed out"):
        read_and_prepare(ExportRequest(model="vit_b_32"), Silent())
    assert time.monotonic() - start < 2.5
    assert asked == [30, None]
    assert socket.getdefaulttimeout() is None
    assert list(hub.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(folder, monkeypatch):
    (folder / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(folder / "file"))
    with pytest.raises(DownloadError, match=rf"cannot be kept at {re.escape(str(folder / 'file'))}"):
        read_and_prepare(ExportRequest(model="vit_b_32"), Silent())
