"""A provider asked for by name runs or raises; what the model says it runs on is what it runs on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest

import vit_runtime as vit
from vit_runtime.arrays import UInt8Array
from vit_runtime.devices.engine import is_here
from vit_runtime.devices.providers import CPU, CPU_PROVIDER, EXECUTION_PROVIDERS, PROVIDERS, parse
from vit_runtime.devices.session import Overrides, open_session
from vit_runtime.devices.threads import default_threads

ACCELERATORS = {
    "openvino": ("OpenVINOExecutionProvider", "vit-edge[openvino]"),
    "openvino:gpu": ("OpenVINOExecutionProvider", "vit-edge[openvino]"),
    "openvino:npu": ("OpenVINOExecutionProvider", "vit-edge[openvino]"),
    "cuda": ("CUDAExecutionProvider", "vit-edge[gpu]"),
    "tensorrt": ("TensorrtExecutionProvider", "vit-edge[gpu]"),
    "tensorrt-rtx": ("NvTensorRTRTXExecutionProvider", "vit-edge[tensorrt-rtx]"),
    "webgpu": ("WebGpuExecutionProvider", "vit-edge[webgpu]"),
    "coreml": ("CoreMLExecutionProvider", "macOS"),
    "qnn": ("QNNExecutionProvider", "vit-edge[qnn]"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
}
SCHEDULE_THEMSELVES = [name for name in ACCELERATORS if name != "openvino"]
"""All but those that compute on the processor."""


def test_every_provider_is_tested_here():
    assert set(PROVIDERS) == {"auto", "cpu", *ACCELERATORS}


def test_every_provider_that_can_be_named_has_its_record():
    assert {name.split(":")[0] for name in PROVIDERS} == {"auto", *EXECUTION_PROVIDERS}
    for name, record in EXECUTION_PROVIDERS.items():
        assert record.name == name
        assert record is CPU or record.how_to_get  # there is no build without the CPU's
        assert record.plug_in is not None or record.full_name in onnxruntime.get_all_providers()


@pytest.mark.parametrize("provider", ["cpu", "auto"])
def test_the_model_runs_where_it_says(provider: str, tiny_artifact: Path):
    if provider == "auto" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime may take a GPU")
    model = vit.load(tiny_artifact, provider=provider)
    assert model.provider == "CPUExecutionProvider"
    assert model.note == ""
    opened = open_session(tiny_artifact, provider=provider)
    assert opened.provider == opened.session.get_providers()[0]


def test_every_node_runs_on_the_cpu(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Asks onnxruntime's own profile, which names the provider of each node that was computed."""

    class ProfiledOptions(onnxruntime.SessionOptions):
        def __init__(self) -> None:
            super().__init__()
            self.enable_profiling = True
            self.profile_file_prefix = str(tmp_path / "profile")

    monkeypatch.setattr(onnxruntime, "SessionOptions", ProfiledOptions)
    session = open_session(tiny_artifact, provider="cpu", threads=1).session
    session.run(None, {"pixels": np.zeros((2, 32, 32, 3), np.uint8)})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    providers = [event["args"]["provider"] for event in events if event["name"].endswith("_kernel_time")]
    assert len(providers) > 20
    assert set(providers) == {"CPUExecutionProvider"}


@pytest.mark.parametrize("provider", ACCELERATORS)
def test_a_provider_that_is_not_compiled_in_says_how_to_get_it(provider: str, tiny_artifact: Path):
    execution_provider, remedy = ACCELERATORS[provider]
    if is_here(onnxruntime, parse(provider)[0]):
        pytest.skip(f"{execution_provider} is installed")
    with pytest.raises(vit.ProviderError) as caught:
        vit.load(tiny_artifact, provider=provider)
    assert isinstance(caught.value, vit.VitEdgeError)
    assert isinstance(caught.value, RuntimeError)
    message = str(caught.value)
    name = parse(provider)[0].name
    assert f"provider '{name}': not in this build of onnxruntime {onnxruntime.__version__}" in message
    assert "it has: cpu" in message
    assert remedy in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("provider", SCHEDULE_THEMSELVES)
def test_an_accelerator_takes_no_number_of_threads(provider: str, tiny_artifact: Path):
    with pytest.raises(vit.UsageError, match=f"threads: cannot be set for {provider}"):
        vit.load(tiny_artifact, provider=provider, threads=2)


@pytest.mark.parametrize(
    ("provider", "remedy"),
    [
        ("CPU", "choose one of auto, cpu, openvino, "),
        ("", "choose one of auto, cpu, openvino, "),
        (None, "choose one of auto, cpu, openvino, "),
        ("CPUExecutionProvider", "choose one of auto, cpu, openvino, "),
        ("opnvino", "did you mean openvino or "),
        ("openvino:cpu", "did you mean openvino:"),
        ("tensort", "did you mean tensorrt or tensorrt-rtx?"),
    ],
)
def test_an_unknown_provider_names_those_like_it_or_all(provider: str | None, remedy: str, tiny_artifact: Path):
    with pytest.raises(vit.ProviderError, match=rf"^provider '{provider}': unknown; {re.escape(remedy)}"):
        vit.load(tiny_artifact, provider=provider)


@pytest.mark.parametrize("threads", [0, -1])
def test_too_few_threads(threads: int, tiny_artifact: Path):
    with pytest.raises(vit.UsageError, match=f"threads: {threads} is too few; give at least 1"):
        vit.load(tiny_artifact, threads=threads)


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_threads_are_those_asked_for_or_the_default(threads: int | None, tiny_artifact: Path):
    opened = open_session(tiny_artifact, threads=threads)
    expected = threads or default_threads()
    assert opened.threads == expected
    assert opened.session.get_session_options().intra_op_num_threads == expected


def test_idle_threads_leave_the_processor_alone(tiny_artifact: Path, picture: UInt8Array):
    """Unless told otherwise, onnxruntime's workers spin for a while after each run, and so between camera frames."""
    model = vit.load(tiny_artifact, threads=4)
    model.classify(picture)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.03  # 0.0001 s measured; 0.1 s where they spin


def cut_initializer(graph: onnx.GraphProto) -> None:
    graph.initializer[2].raw_data = graph.initializer[2].raw_data[:-4]


def rename_operator(graph: onnx.GraphProto) -> None:
    graph.node[3].op_type = "NoSuchOperator"


@pytest.mark.parametrize("damage", [cut_initializer, rename_operator])
def test_a_graph_that_onnxruntime_cannot_load_is_an_artifact_error(
    damage: Callable[[onnx.GraphProto], None], edit_artifact: Callable[..., Path]
):
    path = edit_artifact(graph=damage)
    with pytest.raises(vit.ArtifactError) as caught:
        vit.load(path)
    assert f"{path}: onnxruntime {onnxruntime.__version__} cannot load it: " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


class Started:
    """A session that takes whatever provider it is asked for, and remembers how it was asked."""

    failing: ClassVar[tuple[str, ...]] = ()
    """Providers that are compiled in and do not run."""
    elsewhere: ClassVar[bool] = False
    """Whether it runs on the CPU without a word, as onnxruntime does."""

    def __init__(self, _: str, options: onnxruntime.SessionOptions, **asked: Any) -> None:
        ((self.provider, self.own),) = asked.pop("providers")
        self.options, self.asked = options, asked
        if self.provider in self.failing:
            raise RuntimeError("no device\nis there")

    def get_providers(self) -> list[str]:
        return [CPU_PROVIDER] if self.elsewhere else [self.provider, CPU_PROVIDER]

    def entry(self, key: str) -> str:
        return self.options.get_session_config_entry(key)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> type[Started]:
    """An onnxruntime with every provider compiled in; the class may be told what goes wrong."""
    kind = type("Started", (Started,), {})
    names = [record.full_name for record in EXECUTION_PROVIDERS.values()]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", kind)
    return kind


OWN_OPTIONS: dict[str, dict[str, str]] = {name: {} for name in ACCELERATORS} | {
    "cuda": {"use_tf32": "0"},
    "openvino": {"device_type": "CPU", "num_of_threads": str(default_threads()), "num_streams": "1"},
    "openvino:gpu": {"device_type": "GPU"},
    "openvino:npu": {"device_type": "NPU"},
}


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("provider", OWN_OPTIONS)
def test_an_accelerator_is_asked_for_alone(provider: str, tiny_artifact: Path):
    """No node on the CPU, no second try there, and products that are not rounded to TF32."""
    opened = open_session(tiny_artifact, provider=provider)
    threads = None if provider in SCHEDULE_THEMSELVES else default_threads()
    assert (opened.provider, opened.threads) == (ACCELERATORS[provider][0], threads)
    session: Any = opened.session
    assert (session.provider, session.own) == (ACCELERATORS[provider][0], OWN_OPTIONS[provider])
    assert session.asked == {"enable_fallback": 0}
    assert session.entry("session.disable_cpu_ep_fallback") == "1"


@pytest.mark.usefixtures("started")
def test_options_of_a_provider_go_over_ours(tiny_artifact: Path):
    session: Any = open_session(
        tiny_artifact, provider="cuda", overrides=Overrides(device=1, provider_options={"a": "b"})
    ).session
    assert session.own == {"use_tf32": "0", "device_id": "1", "a": "b"}
    session = open_session(
        tiny_artifact, provider="cuda", overrides=Overrides(provider_options={"use_tf32": "1"})
    ).session
    assert session.own == {"use_tf32": "1"}
    session = open_session(tiny_artifact, provider="tensorrt", overrides=Overrides(device=0)).session
    assert session.own == {"device_id": "0"}
    session = open_session(
        tiny_artifact, provider="cpu", overrides=Overrides(provider_options={"use_arena": "0"})
    ).session
    assert (session.provider, session.own) == (CPU_PROVIDER, {"use_arena": "0"})


@pytest.mark.parametrize("provider", ACCELERATORS)
def test_what_runs_elsewhere_than_asked_is_an_error(provider: str, started: type[Started], tiny_artifact: Path):
    started.elsewhere = True
    with pytest.raises(vit.ProviderError, match=f"provider '{parse(provider)[0].name}': onnxruntime would not"):
        open_session(tiny_artifact, provider=provider)


@pytest.mark.parametrize(
    ("provider", "remedy"),
    [
        ("cuda", "see that the driver works (nvidia-smi) and CUDA is there"),
        ("tensorrt", "see that the driver works (nvidia-smi) and that TensorRT's libraries are installed"),
        ("openvino", "try provider='cpu'"),
        ("coreml", "try provider='cpu'"),
    ],
)
def test_what_does_not_start_says_what_to_do(provider: str, remedy: str, started: type[Started], tiny_artifact: Path):
    started.failing = (ACCELERATORS[provider][0],)
    with pytest.raises(vit.ProviderError) as caught:
        open_session(tiny_artifact, provider=provider)
    assert f"provider '{provider}': cannot run {tiny_artifact}: no device is there; {remedy}" in str(caught.value)


def test_auto_takes_cuda_where_it_works_and_else_says_why_not(started: type[Started], tiny_artifact: Path):
    opened = open_session(tiny_artifact, threads=3)
    assert (opened.provider, opened.note) == ("CUDAExecutionProvider", "threads are for the CPU: not used")
    session: Any = opened.session
    assert (session.own, session.entry("session.disable_cpu_ep_fallback")) == ({"use_tf32": "0"}, "1")
    started.failing = ("CUDAExecutionProvider",)
    opened = open_session(tiny_artifact, threads=3)
    assert (opened.provider, opened.threads) == (CPU_PROVIDER, 3)
    assert opened.note == f"cuda is installed but not used: cannot run {tiny_artifact}: no device is there"
