"""Many pictures go one road: in order, in batches, lazily; what is no picture is one error among the answers."""

from __future__ import annotations

import gc
import io
import json
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
    """A model that notes how many pictures each of its runs takes."""

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


@pytest.mark.parametrize("output", ["logits", "embedding", "rollout"])
def test_every_answer_is_that_of_its_own_picture(output: str, attending: vit.ViT, random_pictures: RandomPictures):
    pictures = random_pictures(5)
    answers = list(attending.answers(pictures, output, batch_size=2))
    assert [answer.source is picture for answer, picture in zip(answers, pictures, strict=True)] == [True] * 5
    for answer, picture in zip(answers, pictures, strict=True):
        pixels = vit.load_pixels(picture, attending.artifact.preprocessing)
        (alone,) = attending.run(pixels[None], [output])[0]
        assert (answer.values.dtype, answer.values.shape) == (np.float32, alone.shape)
        np.testing.assert_allclose(answer.values, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "runs"),
    [
        ("", []),
        ("b", []),
        ("bbbb", []),
        ("g", [1]),
        ("gg", [2]),
        ("ggg", [2, 1]),
        ("gggg", [2, 2]),
        ("bgg", [2]),
        ("gbg", [2]),
        ("ggb", [2]),
        ("gbbbbbg", [2]),
        ("gbggbbgb", [2, 2]),
        ("bgbgbgb", [2, 1]),
    ],
)
def test_answers_and_errors_come_in_order_and_batches_are_full(
    kinds: str, runs: list[int], watched: Watched, random_pictures: RandomPictures
):
    """A picture that cannot be read takes no place in a batch."""
    sources = mixed(random_pictures(len(kinds)), kinds)
    answers = list(watched.answers(sources, "embedding", batch_size=2))
    assert kinds_of(answers) == kinds
    assert watched.runs == runs
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


@pytest.mark.parametrize("method", ["answers", "maps"])
def test_no_more_than_a_batch_is_read_ahead(method: str, attending: vit.ViT, picture: UInt8Array):
    sources = Counting([picture] * 10)
    answers = {
        "answers": lambda: attending.answers(sources, "embedding", batch_size=3),
        "maps": lambda: attending.maps(sources, batch_size=3),
    }[method]()
    assert sources.taken == 0
    assert [sources.taken for _ in answers] == [3, 3, 3, 6, 6, 6, 9, 9, 9, 10]


def test_maps_come_one_by_one_unless_asked_for_together(watched: Watched, picture: UInt8Array):
    list(watched.maps([picture] * 3))
    assert watched.runs == [1, 1, 1]


def test_an_error_that_waits_for_nothing_comes_at_once(attending: vit.ViT, picture: UInt8Array):
    sources = Counting([BROKEN, BROKEN, picture, picture])
    answers = attending.answers(sources, "embedding", batch_size=8)
    assert isinstance(next(answers), vit.ImageError)
    assert sources.taken == 1
    assert kinds_of(answers) == "bgg"


@pytest.mark.parametrize("method", ["classify", "logits", "embed", "attend"])
def test_where_errors_are_raised_nothing_behind_the_first_is_read(method: str, watched: Watched, picture: UInt8Array):
    sources = Counting([picture, BROKEN, picture, picture])
    with pytest.raises(vit.ImageError, match="image of 10 bytes: not an image"):
        getattr(watched, method)(sources, batch_size=8)
    assert sources.taken == 2
    assert watched.runs == []


@pytest.mark.parametrize("method", ["classify", "logits", "embed", "attend"])
def test_where_all_answers_are_wanted_pictures_are_still_read_by_batches(
    method: str, attending: vit.ViT, picture: UInt8Array
):
    sources = Counting([picture] * 5)

    class Noting(Watched):
        def run(self, pixels: UInt8Array, *args: Any) -> list[FloatArray]:
            taken.append(sources.taken)
            return super().run(pixels, *args)

    taken: list[int] = []
    assert len(getattr(Noting(attending), method)(sources, batch_size=2)) == 5
    assert taken == [2, 4, 5]


def test_errors_do_not_pile_up_behind_a_picture_that_waits(watched: Watched, picture: UInt8Array):
    sources = Counting([picture, *[BROKEN] * 100, picture])
    answers = watched.answers(sources, "embedding", batch_size=2)
    assert isinstance(next(answers), vit.Answer)
    assert sources.taken == 16
    assert kinds_of(answers) == "b" * 100 + "g"
    assert watched.runs == [1, 1]


@pytest.mark.parametrize("failure", [vit.ProviderError("cpu", "has no memory left"), KeyboardInterrupt()])
def test_where_the_graph_fails_errors_are_told_first(failure: BaseException, attending: vit.ViT, picture: UInt8Array):
    class Failing(Watched):
        def run(self, *_: Any) -> list[FloatArray]:
            raise failure

    answers = Failing(attending).answers([picture, BROKEN, BROKEN], "embedding")
    assert [type(next(answers)), type(next(answers))] == [vit.ImageError] * 2
    with pytest.raises(type(failure)):
        next(answers)


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

    answers = attending.answers(sources(), "embedding", batch_size=1)
    assert isinstance(next(answers), vit.Answer)
    with pytest.raises(LookupError, match="the camera is gone"):
        next(answers)


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
    content = encode(picture, "JPEG")
    sources = [content, content[: len(content) // 2]] * 5
    errors, most = [], 0
    for seen in attending.maps(sources):
        if isinstance(seen, vit.ImageError):
            errors.append(seen)
        del seen
        most = max(most, decoded_pictures())
    assert len(errors) == 5
    assert most == 1
    assert decoded_pictures() == 0
    assert "in decode_file" in "".join(traceback.format_exception(errors[0]))


def test_photos_of_a_batch_are_let_go_one_by_one(
    attending: vit.ViT, picture: UInt8Array, encode: Encode, decoded_pictures: Callable[[], int]
):
    left = []
    for seen in attending.maps([encode(picture, "JPEG")] * 5, batch_size=3):
        del seen
        left.append(decoded_pictures())
    assert left == [3, 2, 1, 2, 1]


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
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["image"] for line in lines] == [str(answer.source) for answer in good]
        for line, answer in zip(lines, good, strict=True):
            np.testing.assert_array_equal(np.array(line[key], np.float32), answer.values)
