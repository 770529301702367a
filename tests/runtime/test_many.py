"""Many pictures go one road: in order, several at a time, lazily; what is no picture is one error among the answers."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import json
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vit_runtime as vit
from vit_runtime.arrays import FloatArray, UInt8Array

Encode = Callable[..., bytes]
RandomPictures = Callable[[int], list[UInt8Array]]
Run = Callable[..., Any]

BROKEN = b"no picture"


@pytest.fixture(scope="module")
def attending(attention_artifact: Path) -> vit.ViT:
    return vit.load(attention_artifact, threads=1)


class Watched(vit.ViT):
    """A model that notes how many pictures each of its runs takes, with as many workers as a test wants."""

    workers = 4

    def __init__(self, model: vit.ViT) -> None:
        vars(self).update(vars(model))
        self.runs: list[int] = []

    def run(self, pixels: UInt8Array, *args: Any) -> list[FloatArray]:
        self.runs.append(len(pixels))
        return super().run(pixels, *args)


@pytest.fixture
def watched(attending: vit.ViT) -> Watched:
    return Watched(attending)


def mixed(pictures: list[UInt8Array], kinds: str) -> list[Any]:
    """A picture for each "g", in order, and something broken for each "b"."""
    good = iter(pictures)
    return [next(good) if kind == "g" else BROKEN for kind in kinds]


def kinds_of(answers: Iterable[vit.Answer | vit.ImageError]) -> str:
    return "".join("b" if isinstance(answer, vit.ImageError) else "g" for answer in answers)


@pytest.mark.parametrize("batch_size", [None, 1, 2, 7])
@pytest.mark.parametrize("output", ["logits", "embedding", "rollout"])
def test_every_answer_is_that_of_its_own_picture(
    output: str, batch_size: int | None, attending: vit.ViT, random_pictures: RandomPictures
):
    pictures = random_pictures(5)
    answers = list(Watched(attending).answers(pictures, output, batch_size=batch_size))
    assert [answer.source is picture for answer, picture in zip(answers, pictures, strict=True)] == [True] * 5
    for answer, picture in zip(answers, pictures, strict=True):
        pixels = vit.load_pixels(picture, attending.artifact.preprocessing)
        (alone,) = attending.run(pixels[None], [output])[0]
        assert (answer.values.dtype, answer.values.shape) == (np.float32, alone.shape)
        np.testing.assert_allclose(answer.values, alone, rtol=0, atol=1e-5)


KINDS = ["", "b", "bbbb", "g", "ggggg", "bgg", "gbg", "ggb", "gbbbbbg", "gbggbbgb", "bgbgbgb", "gbg" * 40]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("kinds", KINDS)
def test_answers_and_errors_come_in_order(
    kinds: str, batch_size: int, watched: Watched, random_pictures: RandomPictures
):
    """A picture that cannot be read takes no place in a batch."""
    sources = mixed(random_pictures(len(kinds)), kinds)
    answers = list(watched.answers(sources, "embedding", batch_size=batch_size))
    assert kinds_of(answers) == kinds
    assert sum(watched.runs) == kinds.count("g")
    assert all(1 <= run <= batch_size for run in watched.runs)
    for answer, source in zip(answers, sources, strict=True):
        if isinstance(answer, vit.ImageError):
            assert str(answer).startswith("image of 10 bytes: not an image")
        else:
            assert answer.source is source
            np.testing.assert_allclose(answer.values, watched.embed(source)[0], rtol=0, atol=1e-5)


class Counting:
    """Counts how many sources were taken."""

    def __init__(self, sources: Iterable[Any]) -> None:
        self.sources, self.taken = sources, 0

    def __iter__(self) -> Iterator[Any]:
        for source in self.sources:
            self.taken += 1
            yield source


@pytest.mark.parametrize(
    ("method", "batch_size", "ahead"), [("answers", 1, 16), ("answers", 3, 10), ("maps", 1, 4), ("maps", 8, 8)]
)
def test_no_more_than_what_keeps_the_workers_busy_is_read_ahead(
    method: str, batch_size: int, ahead: int, watched: Watched, picture: UInt8Array
):
    """Four pictures for each of four workers; with batches, two batches besides. Of maps, which hold photos, few."""
    sources = Counting([picture] * 50)
    answers = {
        "answers": lambda: watched.answers(sources, "embedding", batch_size=batch_size),
        "maps": lambda: watched.maps(sources, batch_size=batch_size),
    }[method]()
    assert sources.taken == 0
    most = [sources.taken - given for given, _ in enumerate(answers)]
    assert len(most) == 50
    assert max(most) <= ahead


def test_an_answer_is_given_before_all_pictures_are_there(watched: Watched, picture: UInt8Array):
    """A camera never ends."""
    answers = watched.answers(itertools.repeat(picture), "embedding")
    assert len(list(itertools.islice(answers, 40))) == 40


@pytest.mark.parametrize("method", ["classify", "logits", "embed", "attend"])
def test_where_errors_are_raised_little_behind_the_first_is_read(method: str, watched: Watched, picture: UInt8Array):
    sources = Counting([picture, BROKEN, *[picture] * 50])
    with pytest.raises(vit.ImageError, match="image of 10 bytes: not an image"):
        getattr(watched, method)(sources)
    assert sources.taken <= 17


@pytest.mark.parametrize("failure", [vit.ProviderError("cpu", "has no memory left"), KeyboardInterrupt()])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_where_the_graph_fails_the_caller_hears_it(
    batch_size: int, failure: BaseException, attending: vit.ViT, picture: UInt8Array
):
    class Failing(Watched):
        def run(self, *_: Any) -> list[FloatArray]:
            raise failure

    answers = Failing(attending).answers([BROKEN, BROKEN, *[picture] * 20], "embedding", batch_size=batch_size)
    assert [type(next(answers)), type(next(answers))] == [vit.ImageError] * 2
    with pytest.raises(type(failure)) as caught:
        next(answers)
    assert caught.value is failure
    assert workers_left() == 0


def workers_left() -> int:
    """Threads that work for a model."""
    return sum(thread.name.startswith("vit-edge") for thread in threading.enumerate())


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("end", ["all", "break", "close", "mistake", "never begun"])
def test_threads_end_with_the_answers(end: str, batch_size: int, watched: Watched, picture: UInt8Array):
    assert workers_left() == 0
    answers = watched.answers([picture] * 30, "embedding", batch_size=batch_size)
    if end == "all":
        assert len(list(answers)) == 30
    elif end == "break":
        for _ in answers:
            assert workers_left() > 0
            break
    elif end == "close":
        next(answers)
        answers.close()
    elif end == "mistake":
        with contextlib.suppress(LookupError):
            for _ in answers:
                raise LookupError
    del answers
    assert workers_left() == 0


class File:
    """An open file whose reading fails with an error that somebody else has made."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def read(self, _size: int = -1) -> bytes:
        raise self.error


def test_a_generator_of_the_callers_own_goes_on_behind_an_error(attending: vit.ViT, picture: UInt8Array):
    """Its frame is in the traceback of the error that it hands over."""

    def sources() -> Iterator[Any]:
        yield picture
        try:
            raise OSError("the camera is gone")
        except OSError as error:
            yield File(error)
        yield from [picture] * 3

    assert kinds_of(attending.answers(sources(), "embedding", batch_size=1)) == "gbggg"


def test_an_error_that_is_its_own_cause(attending: vit.ViT, picture: UInt8Array):
    error = OSError("the camera is gone")
    error.__cause__ = error
    assert kinds_of(attending.answers([File(error), picture], "embedding")) == "bg"


def test_what_the_caller_looks_at_is_not_emptied(attending: vit.ViT):
    def fail(precious: str) -> None:
        raise LookupError(precious)

    try:
        fail("kept")
    except LookupError as error:
        list(attending.answers([BROKEN], "embedding"))
        seen = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert seen.stack[-1].locals == {"precious": "'kept'"}


def test_a_mistake_in_the_call_is_raised_at_once(tiny: vit.ViT, picture: UInt8Array):
    """Not when the first answer is asked for, far from the call."""
    with pytest.raises(vit.ArtifactError, match="gives no attention maps"):
        tiny.maps([picture])
    with pytest.raises(vit.ArtifactError, match="has no output 'labels'"):
        tiny.answers([picture], "labels")
    with pytest.raises(vit.UsageError, match="batch_size: 0 is too few"):
        tiny.answers([picture], "embedding", batch_size=0)


def test_an_error_of_the_callers_own_goes_through(attending: vit.ViT, picture: UInt8Array):
    def sources() -> Iterator[UInt8Array]:
        yield picture
        raise LookupError("the camera is gone")

    answers = Watched(attending).answers(sources(), "embedding")
    assert isinstance(next(answers), vit.Answer)
    with pytest.raises(LookupError, match="the camera is gone"):
        next(answers)
    assert workers_left() == 0


def test_one_picture_gives_one_answer(attending: vit.ViT, picture: UInt8Array):
    (answer,) = attending.answers(picture, "embedding")
    np.testing.assert_array_equal(answer.values, attending.embed(picture)[0])
    (seen,) = attending.maps(picture)
    np.testing.assert_array_equal(seen.values, attending.attend(picture).values)


class Once(io.BytesIO):
    """A file that can be read once, as a pipe."""

    def seekable(self) -> bool:
        return False


def test_maps_are_those_of_attend_and_hold_their_photos(attending: vit.ViT, picture: UInt8Array, encode: Encode):
    """Of what can be read once only, too."""
    content = encode(picture, "PNG")
    maps = list(attending.maps([picture, BROKEN, content, Once(content)]))
    assert kinds_of(maps) == "gbgg"
    expected = attending.attend(picture)
    for seen in (maps[0], *maps[2:]):
        assert isinstance(seen, vit.AttentionMap)
        np.testing.assert_array_equal(seen.values, expected.values)
        np.testing.assert_array_equal(np.asarray(seen.overlay()), np.asarray(expected.overlay()))


@pytest.fixture
def decoded_pictures() -> Iterator[Callable[[], int]]:
    """How many decoded pictures there are that were not there at the start."""

    def count() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Image.Image) for thing in gc.get_objects())

    gc.collect()
    gc.freeze()  # what is there already is looked at no more
    yield count
    gc.unfreeze()


def test_photos_are_let_go(
    attending: vit.ViT, picture: UInt8Array, encode: Encode, decoded_pictures: Callable[[], int]
):
    """Those of maps that nobody holds, and those of errors, whose tracebacks hold what was decoded."""
    assert attending.workers == 1
    content = encode(picture, "JPEG")
    sources = [content, content[:-100]] * 5
    errors, most = [], 0
    for seen in attending.maps(sources):
        if isinstance(seen, vit.ImageError):
            errors.append(seen)
        del seen
        most = max(most, decoded_pictures())
    assert len(errors) == 5
    assert 0 < most <= 3  # two sources are in the works, and a photo is there twice while it is scaled
    assert decoded_pictures() == 0
    assert "in load" in "".join(traceback.format_exception(errors[0]))  # Pillow, in the middle of a photo


@pytest.mark.parametrize("batch_size", [1, 3])
def test_photos_of_many_workers_are_let_go(
    batch_size: int, attending: vit.ViT, picture: UInt8Array, encode: Encode, decoded_pictures: Callable[[], int]
):
    """A worker may still hold the photo whose map was just given, and be about to let go of it."""
    most = 0
    for seen in Watched(attending).maps([encode(picture, "JPEG")] * 30, batch_size=batch_size):
        del seen
        most = max(most, decoded_pictures())
    assert 0 < most <= 4 + 4
    assert decoded_pictures() == 0


def test_the_command_line_answers_as_the_library_does(
    vit_run: Run, attention_artifact: Path, attending: vit.ViT, picture: UInt8Array, encode: Encode, tmp_path: Path
):
    """Every command, on the same pictures: the answers are the library's to the last bit, the errors its errors."""
    for number in range(7):
        content = encode(np.roll(picture, 8 * number, axis=1), "PNG")
        (tmp_path / f"{number}.png").write_bytes(BROKEN if number in (0, 3) else content)
    paths = sorted(tmp_path.iterdir())
    errors = [answer for answer in attending.answers(paths, "logits") if isinstance(answer, vit.ImageError)]
    assert [str(error).partition(":")[0] for error in errors] == [str(paths[0]), str(paths[3])]
    keys = {"embed": ("embedding", "embedding"), "attend": ("rollout", "rollout")}
    options = {"embed": ("--batch", 2), "attend": ("--json",)}
    for command, (output, key) in keys.items():
        done = vit_run(command, attention_artifact, tmp_path, "--threads", 1, *options[command])
        assert done.exit_code == 1
        assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
            f"error: {error}" for error in errors
        ]
        answers = attending.answers(paths, output, batch_size=2 if command == "embed" else 1)
        good = [answer for answer in answers if isinstance(answer, vit.Answer)]
        told = [json.loads(line) for line in done.stdout.splitlines()]
        lines = [line for line in told if "error" not in line]
        assert [line["image"] for line in told] == [str(path) for path in paths]
        assert [line["error"] for line in told if "error" in line] == [str(error) for error in errors]
        for line, answer in zip(lines, good, strict=True):
            np.testing.assert_array_equal(np.array(line[key], np.float32), answer.values)
