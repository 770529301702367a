"""Accuracy: counts and intervals from made-up answers, unreadable photos, and a real run beside torchvision itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms._presets import ImageClassification

from vit_bench.contenders.entrants import artifacts
from vit_bench.contenders.peers import Peers, make_peers
from vit_bench.contenders.process import Finished
from vit_bench.contenders.source import Source
from vit_bench.contenders.task import Measured, PhotoAnswer, Task
from vit_bench.errors import ContenderError
from vit_bench.measure.accuracy import measure_accuracy
from vit_bench.measure.labels import LabelledPhotos
from vit_export.progress import Silent
from vit_runtime.errors import VitEdgeError

from .conftest import torchvision_tiny
from .made_results import Each, made_up

MEASURED = Measured(version="engine 1", detail="")


def answer(*classes: int) -> PhotoAnswer:
    return PhotoAnswer(classes=classes, error="" if classes else "photo.png: damaged")


@pytest.fixture
def run():
    """Measures made-up contenders, whose answers are given by name; an exception in their place is raised."""

    def measure(given: dict[str, list[PhotoAnswer | BaseException]], right: list[int]):
        def answers(name: str, task: Task, each: Each | None) -> Finished:
            assert (task.threads, task.each_photo, task.photos) == (1, True, tuple(map(str, paths)))
            for item in given[name]:
                if isinstance(item, BaseException):
                    raise item
                each(item)
            return Finished(first_answer_seconds=0, measured=MEASURED)

        paths = tuple(Path(f"{number}.png") for number in range(len(right)))
        photos = LabelledPhotos(paths=paths, classes=tuple(right), origin="made up")
        return measure_accuracy(
            [made_up(name, answers) for name in given], Peers(), photos, threads=1, progress=Silent()
        )

    return measure


def test_right_answers_agreement_and_difference_are_counted_picture_by_picture(run):
    torch_ = [answer(0, 1), answer(1, 0), answer(2, 3), answer(9, 8)]
    ours = [answer(0, 1), answer(0, 1), answer(3, 2), answer(9, 3)]
    measured = run({"torch": torch_, "ours": ours}, right=[0, 1, 3, 3])

    assert measured.reference == "torch"
    reference, score = measured.scores
    assert (reference.top1.count, reference.top5.count, reference.top1.of) == (2, 3, 4)
    assert reference.agreement is None
    assert reference.top1_difference is None
    assert (score.top1.count, score.top5.count) == (2, 4)
    assert (score.agreement.count, score.agreement.of) == (2, 4)
    assert score.top1_difference.value == 0
    assert score.top1_difference.low < 0 < score.top1_difference.high
    assert measured.warnings == ("4 photos tell little: the intervals are wide",)


def test_a_photo_that_one_cannot_read_counts_for_nobody(run):
    measured = run({"torch": [answer(0), answer(1)], "ours": [answer(), answer(1)]}, right=[0, 1])
    assert (measured.pictures, measured.unreadable) == (1, 1)
    assert [score.top1.count for score in measured.scores] == [1, 1]


def test_where_no_photo_can_be_read_there_is_no_result(run):
    with pytest.raises(VitEdgeError, match="none of them can be read"):
        run({"torch": [answer(), answer()]}, right=[0, 1])


def test_a_contender_that_fails_midway_is_reported_and_the_others_go_on(run):
    measured = run({"a": [answer(0), ContenderError("a", "was ended by SIGKILL")], "b": [answer(0), answer(1)]}, [0, 1])
    assert [score.contender.name for score in measured.scores] == ["b"]
    assert measured.reference == "b"
    ((name, reason, crashed),) = [(item.name, item.reason, item.crashed) for item in measured.absent]
    assert (name, reason, crashed) == ("a", "was ended by SIGKILL", True)


def test_one_that_stops_early_without_an_error_is_no_result(run):
    measured = run({"a": [answer(0)], "b": [answer(0), answer(1)]}, [0, 1])
    assert [item.reason for item in measured.absent] == ["answered for 1 of 2 photos"]


def test_ctrl_c_keeps_the_contenders_that_were_through(run):
    measured = run({"a": [answer(0), answer(1)], "b": [answer(0), KeyboardInterrupt()]}, [0, 1])
    assert measured.interrupted
    assert [score.contender.name for score in measured.scores] == ["a"]


def test_a_real_run_counts_as_torchvision_itself(
    tiny_artifact: Path, tiny_int8: Path, tiny_checkpoint: Path, photos: list[Path], tmp_path: Path
):
    model = torchvision_tiny().eval()
    model.load_state_dict(load_file(tiny_checkpoint))
    transforms = ImageClassification(crop_size=32, resize_size=37)  # 32 * 256 / 224, rounded
    with torch.inference_mode():
        logits = torch.cat([model(transforms(Image.open(path))[None]) for path in photos])
    right = tuple(number % 7 for number in range(len(photos)))
    labelled = LabelledPhotos(paths=tuple(photos), classes=right, origin="made up")
    source = Source(artifact=str(tiny_artifact), folder=str(tmp_path), checkpoint=str(tiny_checkpoint))
    peers = make_peers(["torch"], source, lambda _: None, need_own_weights=True)
    entrants, _ = artifacts([tiny_artifact, tiny_int8], "cpu")

    measured = measure_accuracy(entrants, peers, labelled, threads=1, progress=Silent())

    expected_top1 = int((logits.argmax(-1) == torch.tensor(right)).sum())
    expected_top5 = int((logits.topk(5).indices == torch.tensor(right)[:, None]).any(1).sum())
    fp32, _, reference = measured.scores
    for score in (fp32, reference):
        assert (score.top1.count, score.top5.count) == (expected_top1, expected_top5)
    assert fp32.agreement.count == len(photos)
    assert fp32.top1_difference.value == 0
