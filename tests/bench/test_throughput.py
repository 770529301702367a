"""Folders in rounds: that each picture is counted, what is made of the passes, and one real run beside PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import Result

from vit_bench.contenders.entrants import artifacts
from vit_bench.contenders.folder.data_loader import loaders
from vit_bench.contenders.folder.runner import Runner, runners
from vit_bench.contenders.folder.task import FolderMeasured, FolderTask, Loader, Work
from vit_bench.contenders.folder.worker import _over_folder
from vit_bench.contenders.peers import Peers
from vit_bench.contenders.task import Task
from vit_bench.documents import read_results, write_results
from vit_bench.errors import ContenderError
from vit_bench.measure.folder_photos import FolderPhotos
from vit_bench.measure.rounds import Settings
from vit_bench.measure.throughput import check_answers, measure_throughput
from vit_bench.report.merging import merge
from vit_bench.report.tables import markdown_table, terminal_table
from vit_bench.results import Absent, ContenderThroughput, Throughput
from vit_export.progress import Silent
from vit_runtime.errors import VitEdgeError

from .made_results import results, throughput

Run = Callable[..., Result]
Answers = Callable[[str, Work, int], FolderMeasured]
PHOTOS = FolderPhotos(paths=tuple(Path(f"{number}.jpg") for number in range(20)), description="made up")


@dataclass(frozen=True, kw_only=True)
class MadeUp(Runner):
    """A contender that no process runs: `answers` is told its name, its work, and the turn."""

    answers: Answers
    turns: list[tuple[str, Work, Task]]

    def measure(self, work: Work, task: Task) -> FolderMeasured:
        self.turns.append((self.name, work, task))
        return self.answers(self.name, work, sum(turn[:2] == (self.name, work) for turn in self.turns))


def told(
    pass_seconds: tuple[float, ...] = (), photo_seconds: tuple[float, ...] = (), best: int = 0, lost: int = 0
) -> FolderMeasured:
    """20 photos of which each was answered in each pass, but for the `lost` first ones."""
    count = len(pass_seconds)
    return FolderMeasured(
        version="engine 1",
        detail="",
        reading="as it reads",
        pass_seconds=pass_seconds,
        answered=tuple(count - (position < lost) for position in range(20)),
        classes=(0,) * 10 + (best,) * 10,
        photo_seconds=photo_seconds,
    )


@pytest.fixture
def run():
    """Measures made-up contenders; gives the section and all turns."""

    def measure(names: list[str], rounds: int, answers: Answers) -> tuple[Throughput, list[tuple[str, Work, Task]]]:
        turns: list[tuple[str, Work, Task]] = []
        found = [
            MadeUp(
                name=name,
                task=Task(tool="torch" if name == "torch" else "vit-edge", file="tiny.onnx", artifact="tiny.onnx"),
                model="tiny",
                precision="fp32",
                runs_on=(),
                reading="pil" if name == "torch" else "exact",
                answers=answers,
                turns=turns,
            )
            for name in names
        ]
        settings = Settings(threads=2, seconds=6, rounds=rounds)
        return measure_throughput(found, Peers(own_weights=True), PHOTOS, settings, Silent()), turns

    return measure


def tuned(work: Work) -> FolderMeasured | None:
    loader = Loader(batch=8, workers=2, threads=1)
    return FolderMeasured(version="", detail="", loader=loader, tried=8) if work == "tune" else None


def by_name(section: Throughput) -> dict[str, ContenderThroughput]:
    return {entry.contender.name: entry for entry in section.contenders}


def test_ratios_are_taken_round_by_round(run):
    """The machine is half as fast in the last two rounds: that takes no part in the ratios."""

    def answers(name: str, work: Work, turn: int) -> FolderMeasured:
        slow = (1 if turn < 4 else 2) * (1 if name == "ours" else 3)
        return tuned(work) or told((0.5 * slow, 0.5 * slow), (0.1 * slow,), best=0 if name == "torch" else 1)

    section, turns = run(["ours", "torch"], 5, answers)

    # Settings are looked for once; then each turn is the folder and one by one, and rounds begin with another one.
    assert [turn[:2] for turn in turns[:5]] == [
        ("torch", "tune"),
        *(("ours", "folder"), ("ours", "photo"), ("torch", "folder"), ("torch", "photo")),
    ]
    assert turns[5][0] == "torch"
    assert {task.seconds for _, _, task in turns} == {6 / 5}
    assert {len(task.photos) for _, work, task in turns if work == "folder"} == {20}
    assert {len(task.photos) for _, work, task in turns if work == "photo"} == {8}
    assert (section.reference, section.pictures, section.photos, section.threads) == ("torch", 20, "made up", 2)
    ours, torch = by_name(section)["ours"], by_name(section)["torch"]
    assert ours.rate.median == pytest.approx(40)
    assert (ours.passes, ours.rate_ratio.pairs, ours.photo_speedup.pairs) == (10, 5, 5)
    assert (ours.rate_ratio.value, ours.rate_ratio.low) == pytest.approx((3, 3))
    assert ours.photo_speedup.value == pytest.approx(3)
    assert (ours.agreement.count, ours.agreement.of) == (10, 20)
    assert (torch.rate_ratio, torch.photo_speedup, torch.agreement) == (None, None, None)
    assert torch.reading == (
        "as it reads; DataLoader with 2 workers, batches of 8, 1 thread computing, the fastest of 8 settings"
    )


def test_who_loses_a_picture_is_out(run):
    def answers(name: str, _: Work, turn: int) -> FolderMeasured:
        return told((0.5, 0.5), (0.1,), lost=3 if name == "loses" and turn == 2 else 0)

    section, _ = run(["loses", "counts"], 5, answers)

    assert {name: entry.passes for name, entry in by_name(section).items()} == {"loses": 2, "counts": 10}
    (absent,) = section.absent
    assert absent.crashed
    assert absent.reason == (
        "failed in round 2: answered 17 of 20 photos once in each of 2 passes: pictures were lost or repeated"
    )


def test_the_process_counts_each_photo_by_itself():
    """This engine answers the first photo twice, and the last one never."""

    class Careless:
        version, detail, reading = "engine 1", "", ""

        def answers(self, positions: Sequence[int]) -> Iterator[tuple[int, int]]:
            yield from ((position, 10 * position) for position in (0, *positions[:-1]))

        def answer(self, photo: str) -> None:
            raise NotImplementedError

    task = Task(tool="torch", file="", artifact="", photos=("a", "b", "c"))
    found = _over_folder(Careless(), FolderTask(task=task, work="folder", reading="pil"))
    assert (found.answered, found.classes, len(found.pass_seconds)) == ((2, 1, 0), (0, 10, -1), 1)
    with pytest.raises(ContenderError, match="answered 1 of 3 photos once in each of 1 passes"):
        check_answers("careless", found, 3)


def test_who_finds_no_settings_is_out_and_the_others_go_on(run):
    def answers(name: str, work: Work, _: int) -> FolderMeasured:
        if work == "tune":
            raise ContenderError(name, "no memory")
        return told((0.5,), (0.1,))

    section, _ = run(["ours", "torch"], 5, answers)
    assert section.reference == "ours"
    assert section.absent == (Absent(name="torch", reason="no memory", crashed=True),)


def test_settings_are_those_of_the_cores():
    assert loaders(1, 8) == [Loader(batch=8, workers=0, threads=1), Loader(batch=8, workers=1, threads=1)]
    assert [(loader.workers, loader.threads) for loader in loaders(2, 8)] == [(0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert sorted({loader.workers for loader in loaders(6, 8)}) == [0, 1, 2, 4, 6]


def test_each_artifact_reads_exactly_and_fast(tiny_artifact: Path):
    entrants, _ = artifacts([tiny_artifact], "cpu")
    torch = replace(entrants[0], name="torch", task=replace(entrants[0].task, tool="torch"))
    found = runners([*entrants, torch], decode_image=True)
    assert [(each.name, each.reading) for each in found] == [
        ("vit-edge fp32", "exact"),
        ("vit-edge fp32 fast", "fast"),
        ("torch", "pil"),
        ("torch decode_image", "decode_image"),
    ]
    assert len(runners([*entrants, torch], decode_image=False)) == 3


@pytest.mark.slow
def test_artifacts_and_pytorch_really_answer_each_picture_once(
    vit_bench_cli: Run, tiny_artifact: Path, tiny_checkpoint: Path, photos: list[Path], tmp_path: Path
):
    """Photos are exactly those of the folder, and the likeliest class of each is PyTorch's."""
    output = tmp_path / "results.json"
    done = vit_bench_cli(
        *("throughput", tiny_artifact, "--photos", photos[0].parent, "--checkpoint", tiny_checkpoint),
        *("--against", "torch", "--decode-image", "--threads", 1, "--seconds", 0.1, "--rounds", 1, "-o", output),
    )
    assert done.exit_code == 0, done.stderr
    (section,) = read_results(output).throughput
    assert section.absent == ()
    assert (section.pictures, section.reference, section.reference_weights) == (12, "torch", "same")
    found = by_name(section)
    assert list(found) == ["vit-edge fp32", "vit-edge fp32 fast", "torch", "torch decode_image"]
    ours = found["vit-edge fp32"]
    assert (ours.agreement.count, ours.agreement.of) == (12, 12)
    assert ours.reading == 'decode="exact", 1 picture in the works'
    assert found["vit-edge fp32 fast"].reading.startswith('decode="fast"')
    for name, way in (("torch", "Pillow's picture"), ("torch decode_image", "torchvision.io.decode_image")):
        assert way in found[name].reading
        assert "DataLoader with " in found[name].reading
        assert "the fastest of 5 settings" in found[name].reading
    for entry in found.values():
        assert entry.passes >= 1
        assert entry.rate.median > 0
        assert entry.photo.samples >= 8
    assert "none lost, none repeated" in done.stdout


def test_a_folder_without_pytorch_compares_our_own(
    vit_bench_cli: Run, tiny_artifact: Path, photos: list[Path], tmp_path: Path
):
    output = tmp_path / "results.json"
    options = ("--against", "none", "--pictures", 3, "--size", "64x48", "--seconds", 0.1, "--rounds", 1, "-o", output)
    done = vit_bench_cli("throughput", tiny_artifact, "--photos", photos[0].parent, *options)
    assert done.exit_code == 0, done.stderr
    (section,) = read_results(output).throughput
    assert (section.pictures, section.reference, section.reference_weights) == (3, "vit-edge fp32", None)
    assert section.photos.startswith("64x48, JPEG, ")
    assert "enlarged from smaller photos" in section.photos


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--against", "onnx"), "'onnx' is not measured over folders; known are torch, torch-bf16, all and none"),
        (("--against", "none", "--size", "12MP"), "--size: '12MP' is no size"),
        (("--against", "none", "--photos", "nowhere"), "holds no photo that can be read"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(
    vit_bench_cli: Run, tiny_artifact: Path, photos: list[Path], tmp_path: Path, given: tuple[str, ...], told: str
):
    output = tmp_path / "results.json"
    done = vit_bench_cli("throughput", tiny_artifact, "--photos", photos[0].parent, "-o", output, *given)
    assert done.exit_code != 0
    assert told in " ".join(done.stderr.splitlines()[-1].split())
    assert "Traceback" not in done.output
    assert not output.exists()


def test_a_contender_that_cannot_read_a_photo_tells_so(tiny_artifact: Path, tmp_path: Path):
    entrants, _ = artifacts([tiny_artifact], "cpu")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    photos = FolderPhotos(paths=(broken,), description="")
    runs = runners(entrants, decode_image=False)
    with pytest.raises(VitEdgeError, match=r"failed in round 1: .*broken\.jpg: not an image"):
        measure_throughput(runs, Peers(), photos, Settings(threads=1, seconds=0.1, rounds=1), Silent())


def test_results_from_before_are_read(tmp_path: Path):
    path = tmp_path / "results.json"
    write_results(path, results(throughput({"torch": 1.0})))
    document = json.loads(path.read_text(encoding="utf-8"))
    del document["throughput"]
    path.write_text(json.dumps(document), encoding="utf-8")
    assert read_results(path).throughput == ()


def test_tables_show_rates_and_how_photos_were_read():
    shown = terminal_table(results(throughput({"vit-edge int8 static fast": 4.0, "torch": 1.0})))
    header, ours, torch, _, *notes = shown.splitlines()[2:]
    assert header.strip().startswith("pictures a second (p10 to p90)  ")
    assert "80.0 (" in ours
    assert "4.00 (3.81 to 4.20)" in ours
    assert "98.0 (" in ours
    assert torch.count("1 (reference)") == 2
    assert "A folder of 100 photos" in shown
    assert "2 cores; photos: 4000x3000, JPEG, 3100 kB on average" in shown
    assert notes[0] == (
        "In every pass each picture was answered once, none lost, none repeated: counted in 10 or more."
    )
    assert "torch: torch by 2 workers" in notes[1]


def test_sessions_are_pooled_whatever_settings_were_fastest():
    first = results(throughput({"vit-edge fp32": 2.0, "torch": 1.0}), date="2026-11-24T10:00:00+00:00")
    second = results(
        throughput({"vit-edge fp32": 2.2, "torch": 1.0}, reading="by 1 worker"), date="2026-11-25T10:00:00+00:00"
    )
    (device,) = merge([first, second])
    (measured,) = device.measured
    ours = next(entry for entry in measured.section.contenders if entry.contender.name == "vit-edge fp32")
    assert ours.passes == 20
    assert ours.rate_ratio.value == pytest.approx((2.0 * 2.2) ** 0.5)
    assert ours.reading == "vit-edge fp32 by 1 worker; in another session: vit-edge fp32 by 2 workers"
    assert "From 2 sessions" in markdown_table(measured)
