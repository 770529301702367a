"""The guides of the service: their commands run as they stand, and their files are what the programs take."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cameras import write_video
from tests.serving.conftest import VIT_RUN, Service, start_service
from tests.serving.guide import Command, Session, commands_of, fences, is_as_shown
from typer.main import get_command

from vit_runtime.cli import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GUIDE = DOCS / "serving.md"
DEPLOYING = DOCS / "serving"
HOME = DOCS / "home-automation.md"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a clone is after `make demo`."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "models" / "digits", folder / "models" / "digits")
    digits = folder / "models" / "digits"
    options = ["--labels", digits / "labels.txt", "--resize", "32", "--output", folder / "models" / "digits.onnx"]
    export = Path(VIT_RUN).with_name("vit-export")
    subprocess.run([export, digits / "digits_vit.safetensors", *options], check=True, capture_output=True)
    return folder


@pytest.fixture
def session(clone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A reader in that folder, whose services end with the test."""
    monkeypatch.chdir(clone)
    started: list[Service] = []

    def start(*arguments: str, **environment: str) -> Service:
        if started:
            assert started[-1].end() == 0
        started.append(start_service(*arguments, **environment))
        return started[-1]

    reader = Session(clone, start)
    reader.environment["PATH"] = f"{Path(VIT_RUN).parent}:{reader.environment['PATH']}"
    yield reader
    for service in started:
        service.process.kill()
        service.process.wait()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="the commands are those of Linux")
def test_the_guide_shows_what_is_answered(session: Session):
    commands = list(commands_of(GUIDE.read_text(encoding="utf-8")))
    assert len(commands) > 20
    faults = [fault for command in commands if (fault := session.follow(command))]
    assert not faults, "\n".join(faults)


def test_the_python_of_the_guide(session: Session):
    pytest.importorskip("geventhttpclient", reason="tritonclient[http] is not installed")
    service = session.start("models/digits.onnx")
    (code,) = fences(GUIDE.read_text(encoding="utf-8"), "python")
    done = subprocess.run(
        [sys.executable, "-c", code.replace("localhost:8000", f"127.0.0.1:{service.port}")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=session.folder,
    )
    assert done.stdout.splitlines() == re.findall(r"^print\(.*\)  # (.*)$", code, flags=re.MULTILINE), done.stderr


def options_of(command: str) -> set[str]:
    """The options of a command of vit-run."""
    found = get_command(app).commands[command].params  # type: ignore[attr-defined]
    return {option for parameter in found for option in parameter.opts}


@pytest.mark.parametrize("path", sorted([GUIDE, HOME, *DEPLOYING.iterdir()]), ids=lambda path: path.name)
def test_options_that_are_named_are_there(path: Path):
    text = path.read_text(encoding="utf-8")
    for command in ("serve", "watch"):
        for line in re.findall(rf"vit-run {command} ([^\n|`']*)", text):
            assert set(re.findall(r"(?<!\S)--[a-z-]+", line)) <= options_of(command), line


def test_every_status_of_the_service_is_explained():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "runtime/vit_runtime/serving").glob("*.py"))
    from http import HTTPStatus

    used = {HTTPStatus[name].value for name in re.findall(r"HTTPStatus\.([A-Z_]+)", sources)}
    text = GUIDE.read_text(encoding="utf-8")
    explained = {
        int(number) for row in re.findall(r"^\| ([0-9, ]+) \|", text, re.MULTILINE) for number in row.split(", ")
    }
    assert used - explained == {200, 500}  # 500 is a fault of ours, and no answer to explain


# Files of the guides.


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path):
    text = (DEPLOYING / "vit-serve.service").read_text(encoding="utf-8")
    (started,) = re.findall(r"^ExecStart=(\S+) serve ", text, re.MULTILINE)
    assert re.findall(r"^EnvironmentFile=-(\S+)$", text, re.MULTILINE) == ["/etc/vit-edge/serve.env"]
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "vit-serve.service"
    unit.write_text(text.replace(started, VIT_RUN), encoding="utf-8")
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if "vit-serve" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_image_starts_what_the_guide_says():
    text = (DEPLOYING / "Containerfile").read_text(encoding="utf-8")
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    command = json.loads(entry)
    assert command[:2] == ["vit-run", "serve"]
    assert {part for part in command if part.startswith("--")} <= options_of("serve")
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    base = re.findall(r"^ARG BASE=(.*)$", text, re.MULTILINE)
    assert base == re.findall(r"^ARG BASE=(.*)$", (DOCS / "Containerfile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_health_check_of_the_image(session: Session):
    service = session.start("models/digits.onnx", "--host", "0.0.0.0", VIT_EDGE_TOKEN="f" * 32)  # noqa: S104
    text = (DEPLOYING / "Containerfile").read_text(encoding="utf-8")
    (check,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (.*)$", text, re.MULTILINE)
    _, *rest = json.loads(check)

    def status() -> int:
        here = [part.replace(":8000", f":{service.port}") for part in rest]
        return subprocess.run([sys.executable, *here], capture_output=True, timeout=60, check=False).returncode

    assert status() == 0
    service.end()
    assert status() == 1


def test_nginx_takes_its_file(tmp_path: Path):
    text = (DEPLOYING / "nginx.conf").read_text(encoding="utf-8")
    assert text.count("{") == text.count("}")
    assert "proxy_set_header Host $http_host;" in text  # with its port, or the page's own Origin is another site's
    nginx, openssl = shutil.which("nginx", path="/usr/sbin:/usr/bin:/bin"), shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=vit.example.org", "-keyout", key, "-out", certificate]
    subprocess.run([openssl, "req", "-x509", *made], check=True, capture_output=True)
    text = text.replace("/etc/ssl/certs/vit.example.org.pem", str(certificate))
    text = text.replace("/etc/ssl/private/vit.example.org.key", str(key))
    (tmp_path / "site.conf").write_text(re.sub(r"(listen (?:\[::\]:)?)(80|443)", r"\g<1>2\2", text), encoding="utf-8")
    whole = (
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\nhttp {{ access_log off; include {tmp_path}/site.conf; }}\n"
    )
    (tmp_path / "nginx.conf").write_text(whole, encoding="utf-8")
    done = subprocess.run(
        [nginx, "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "warn" in done.stderr) == (0, False), done.stderr


def test_caddy_takes_its_file(tmp_path: Path):
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("caddy is not installed")
    command = [caddy, "adapt", "--config", DEPLOYING / "Caddyfile", "--adapter", "caddyfile"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:8000" in json.dumps(json.loads(done.stdout))
    assert "not formatted" not in done.stderr


# Home automation.


def discovery() -> dict[str, object]:
    """The message that tells Home Assistant of the sensor."""
    (block,) = fences(HOME.read_text(encoding="utf-8"), "json")
    found: dict[str, object] = json.loads(block)
    return found


def test_home_assistant_finds_the_label(session: Session, tmp_path: Path):
    """What `watch` prints is what the sensor's template reads."""
    import numpy as np
    from PIL import Image

    digits = [np.asarray(Image.open(f"models/digits/samples/{name}.png").convert("RGB")) for name in ("six", "two")]
    film = write_video(tmp_path / "film.mp4", [picture for picture in digits for _ in range(10)])
    done = subprocess.run(
        [VIT_RUN, "watch", "models/digits.onnx", film, "--json", "--on-change"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    template = pytest.importorskip("jinja2").Template(discovery()["value_template"])
    labels = [template.render(value_json=json.loads(line)) for line in done.stdout.splitlines()]
    assert labels == ["six", "two"]
    assert session.service is None


def test_topics_of_the_recipe_belong_together():
    text = HOME.read_text(encoding="utf-8")
    topics = set(re.findall(r"mosquitto_pub [^\n]*-t (home/\S+)", text))
    assert topics == {discovery()["state_topic"]}


# These tests can fail.


@pytest.mark.parametrize(
    ("shown", "given", "same"),
    [
        ('{"a": 1,\n  "b": 0.9855}', '{"a":1,"b":0.98553}', True),
        ('{"b": 0.9855}', '{"b":0.9755}', False),
        ('{"reading": 1.5}', '{"reading":77.25}', True),
        ('{"milliseconds": 1.5}', '{"milliseconds":3}', True),
        ('{"a": 1}', '{"a":2}', False),
        ('{"a": [0.5,...], "c": 3}', '{"a":[0.5,0.25,1e-9],"c":3}', True),
        ('{"a": [0.5,...], "c": 3}', '{"a":[0.5,0.25],"c":4}', False),
        ("", "a line", False),
    ],
)
def test_answers_are_compared(shown: str, given: str, same: bool):
    assert is_as_shown(shown, given) == same


def test_commands_are_found():
    page = "text\n```console\n$ one\nanswer\n  more\n$ two\n```\n```sh\n$ three\n```\n"
    assert list(commands_of(page)) == [Command("one", "answer\n  more\n"), Command("two", "")]
