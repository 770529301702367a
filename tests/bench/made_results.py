"""Results made by hand, for tests of tables, plots and reports; and contenders that answer by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vit_bench.contenders.entrants import Entrant
from vit_bench.contenders.process import Finished
from vit_bench.contenders.task import PhotoAnswer, Task
from vit_bench.measure.statistics import paired_difference, share
from vit_bench.results import (
    RESULTS_VERSION,
    Absent,
    Accuracy,
    Card,
    Contender,
    ContenderLatency,
    ContenderThroughput,
    Footprint,
    Footprints,
    Kernel,
    Latency,
    Limit,
    Limits,
    Load,
    Product,
    Quantiles,
    Ratio,
    Results,
    Score,
    Throughput,
    Timing,
)

DEVICE = "Mini PC"
DEIT, VIT = "deit_tiny_patch16_224", "vit_b_16"
SPEEDS = {
    "vit-edge fp32": 1.31,
    "vit-edge int8 static": 3.92,
    "vit-edge int8 dynamic": 3.5,
    "torch": 1.0,
    "torch-compile": 1.18,
    "torch-bf16": 0.61,
    "onnx": 1.27,
    "onnx-dynamic": 3.31,
    "openvino": 1.34,
    "openvino-bf16": 1.02,
    "openvino-int8": 3.6,
}
"""Times as fast as torch: those of a processor with VNNI, more or less."""
RIGHT = {
    "vit-edge fp32": 395,
    "vit-edge int8 static": 396,
    "vit-edge int8 dynamic": 398,
    "torch": 395,
    "torch-compile": 395,
    "torch-bf16": 391,
    "onnx": 395,
    "onnx-dynamic": 386,
    "openvino": 395,
    "openvino-bf16": 393,
    "openvino-int8": 389,
}
"""Of 500."""


Each = Callable[[PhotoAnswer], None]


@dataclass(frozen=True, kw_only=True)
class MadeUp(Entrant):
    """A contender that no process runs: `answers` is told its name and task, and where answers for each photo go."""

    answers: Callable[[str, Task, Each | None], Finished]

    def run(self, task: Task, each: Each | None = None) -> Finished:
        return self.answers(self.name, task, each)


def made_up(name: str, answers: Callable[[str, Task, Each | None], Finished]) -> MadeUp:
    task = Task(tool="vit-edge", file="tiny.onnx", artifact="tiny.onnx")
    return MadeUp(name=name, task=task, model="tiny", precision="fp32", runs_on=(), answers=answers)


def card(*, device: str = DEVICE, date: str = "2026-11-24T10:00:00+00:00", load: Load | None = None) -> Card:
    return Card(
        device=device,
        processor="AMD EPYC 9R14",
        instruction_sets=("avx", "avx2", "avx512f", "avx512_vnni"),
        cores=2,
        processors=2,
        memory_bytes=8_000_000_000,
        system="Linux 6.8.0, x86_64",
        python="3.12.3",
        packages=(),
        governor=None,
        load=load,
        date=date,
    )


def results(
    *sections: Latency | Throughput | Accuracy | Footprints | Limits,
    device: str = DEVICE,
    date: str = "2026-11-24T10:00:00+00:00",
    load: Load | None = None,
) -> Results:
    return Results(
        format_version=RESULTS_VERSION,
        vit_edge="0.1.0",
        card=card(device=device, date=date, load=load),
        latency=tuple(section for section in sections if isinstance(section, Latency)),
        throughput=tuple(section for section in sections if isinstance(section, Throughput)),
        accuracy=tuple(section for section in sections if isinstance(section, Accuracy)),
        footprint=tuple(section for section in sections if isinstance(section, Footprints)),
        limit=tuple(section for section in sections if isinstance(section, Limits)),
    )


def contender(name: str, model: str = DEIT) -> Contender:
    tool = name.partition(" ")[0]
    precision = next((p for p in ("bf16", "fp16", "int8") if p in name or (p == "int8" and "dynamic" in name)), "fp32")
    engine = {"vit-edge": "onnxruntime 1.32.0", "onnx": "onnxruntime 1.32.0", "torch": "torch 2.9.1"}
    detail = "CPUExecutionProvider" if tool == "vit-edge" else ""
    version = engine.get(tool.partition("-")[0] if tool != "vit-edge" else tool, "OpenVINO 2026.2")
    return Contender(
        name=name, tool=tool, model=model, precision=precision, provider="cpu", version=version, detail=detail
    )


def around(median: float, spread: float = 0.03) -> Quantiles:
    return Quantiles(samples=100, median=median, p10=median * (1 - spread / 2), p90=median * (1 + spread))


def times(value: float, spread: float = 0.05, pairs: int = 10) -> Ratio:
    return Ratio(value=value, low=value / (1 + spread), high=value * (1 + spread), pairs=pairs)


def contender_latency(name: str, seconds: float, *, base: float, compared: bool, model: str = DEIT) -> ContenderLatency:
    photo_seconds, photo_base = seconds + 0.008, base + 0.008
    return ContenderLatency(
        contender=contender(name, model),
        timings=(
            Timing(
                kind="model",
                all_rounds=around(seconds),
                rounds=(around(seconds),),
                speedup=times(base / seconds) if compared else None,
            ),
            Timing(
                kind="photo",
                all_rounds=around(photo_seconds),
                rounds=(around(photo_seconds),),
                speedup=times(photo_base / photo_seconds) if compared else None,
            ),
        ),
        cosine=0.999 if compared else None,
    )


def latency(
    speeds: Mapping[str, float] = SPEEDS,
    *,
    model: str = DEIT,
    torch_seconds: float = 0.04,
    batch: int = 1,
    reference: str | None = "torch",
    absent: Sequence[Absent] = (),
    warnings: Sequence[str] = (),
    interrupted: bool = False,
) -> Latency:
    """With torch taking `torch_seconds`, and the others as many times less as `speeds` says."""
    return Latency(
        model=model,
        reference=reference,
        reference_weights="same" if reference else None,
        batch=batch,
        threads=2,
        seconds=20.0,
        photo="1280x960 JPEG, 300 kB",
        contenders=tuple(
            contender_latency(
                name,
                torch_seconds / speed,
                base=torch_seconds,
                compared=reference is not None and name != reference,
                model=model,
            )
            for name, speed in speeds.items()
        ),
        absent=tuple(absent),
        warnings=tuple(warnings),
        interrupted=interrupted,
    )


def throughput(
    rates: Mapping[str, float], *, model: str = DEIT, reading: str = "by 2 workers", reference: str = "torch"
) -> Throughput:
    """With torch answering 20 pictures a second, and one in 0.1 s; the others are `rates` times as fast."""
    return Throughput(
        model=model,
        reference=reference,
        reference_weights="same",
        threads=2,
        seconds=20.0,
        pictures=100,
        photos="4000x3000, JPEG, 3100 kB on average",
        contenders=tuple(
            ContenderThroughput(
                contender=contender(name, model),
                reading=f"{name} {reading}",
                passes=10,
                rate=around(20 * rate),
                rate_ratio=None if name == reference else times(rate),
                photo=around(0.1 / rate),
                photo_speedup=None if name == reference else times(rate),
                agreement=None if name == reference else share(98, 100),
            )
            for name, rate in rates.items()
        ),
        absent=(),
        warnings=(),
        interrupted=False,
    )


def accuracy(
    right: Mapping[str, int] = RIGHT, *, of: int = 500, model: str = DEIT, reference: str = "torch"
) -> Accuracy:
    """The first so many of the photos are those that each gets right."""
    return Accuracy(
        model=model,
        reference=reference,
        pictures=of,
        unreadable=0,
        labels="labels.csv",
        scores=tuple(
            Score(
                contender=contender(name, model),
                top1=share(count, of),
                top5=share((count + of) // 2, of),
                agreement=None if name == reference else share(of - abs(count - right[reference]), of),
                top1_difference=None
                if name == reference
                else paired_difference(
                    [photo < count for photo in range(of)], [photo < right[reference] for photo in range(of)]
                ),
            )
            for name, count in right.items()
        ),
        absent=(),
        warnings=(),
        interrupted=False,
    )


def footprint(names: Sequence[str] = tuple(SPEEDS), *, model: str = DEIT) -> Footprints:
    """Each contender takes a tenth more than the one in front of it, of everything."""
    found = []
    for position, name in enumerate(names):
        factor = 1.1**position
        own = name == "torch"
        found.append(
            Footprint(
                contender=contender(name, model),
                first_answer=around(0.4 * factor),
                first_answer_speedup=None if own else times(4.2 / (0.4 * factor)),
                peak_bytes=around(230e6 * factor),
                peak_ratio=None if own else times(560 / (230 * factor)),
                model_bytes=round(22_900_000 * factor),
                installed_bytes=round(182_000_000 * factor),
                installed_packages=12 + position,
            )
        )
    return Footprints(
        model=model,
        reference="torch" if "torch" in names else None,
        threads=2,
        contenders=tuple(found),
        absent=(),
        warnings=(),
        interrupted=False,
    )


def limit(names: Sequence[str] = ("vit-edge fp32", "vit-edge int8 static"), *, model: str = DEIT) -> Limits:
    """Linear layers of 2.4 GOP that would take 20 ms alone, of a pass of 25 ms."""
    product = Product(
        layer="mlp/hidden", kind="fp32", rows=1000, inner=1000, columns=100, times=12, peak=120_000_000_000.0
    )
    kernels = (
        Kernel(name="linear, fp32: mlp/hidden", seconds=0.0213, share=0.852, operations=2_400_000_000, peak_share=0.94),
        Kernel(name="GELU", seconds=0.0037, share=0.148, operations=0, peak_share=None),
    )
    return Limits(
        model=model,
        artifacts=tuple(
            Limit(
                contender=contender(name, model),
                batch=1,
                threads=2,
                operations=2_500_000_000,
                architecture_operations=2_520_000_000,
                pass_seconds=0.025,
                floor_seconds=0.02,
                products=(product,),
                kernels=kernels,
            )
            for name in names
        ),
        absent=(),
        warnings=(),
        interrupted=False,
    )
