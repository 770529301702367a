"""Damaged folders, archives and lists of paths by number: the number alone says what each is and how it is damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence

from tests.made_archives import streamed_zip_of, tar_of, zip_of

from .good_pictures import Good
from .mutate import mutated
from .picture_mutants import picture_mutants

PICTURES = 6
"""In each archive, folder or list; half of them are damaged."""
Contents = Mapping[str, bytes]


def job_mutants(goods: Sequence[Good], seeds: range) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """Names, which begin with the seed, and the file or the folder of each."""
    makers = [*ARCHIVES, "folder", "stdin"]
    for seed in seeds:
        rng, kind = random.Random(seed), makers[seed % len(makers)]
        contents = dict(_pictures(goods, rng))
        name = f"{seed:05}_{kind}_{rng.choice(['json', 'csv'])}"
        if kind == "folder":
            yield name, {f"folder/{file}": content for file, content in contents.items()}
        elif kind == "stdin":
            yield name, {"stdin": _paths(rng)}
        else:
            yield name, {f"archive.{kind}": ARCHIVES[kind](contents, rng)}


def _pictures(goods: Sequence[Good], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    start = rng.randrange(10_000_000, 99_000_000)
    for number, (name, content) in enumerate(picture_mutants(goods, range(start, start + PICTURES))):
        good = rng.choice(goods)
        yield (name, content) if number % 2 else (f"sound_{number}{good.suffix}", good.content)


def _damaged(content: bytes, rng: random.Random) -> bytes:
    return mutated(content, rng) if rng.random() < 0.7 else content


def _zipped(make: Callable[[Contents], bytes]) -> Callable[[Contents, random.Random], bytes]:
    return lambda contents, rng: _damaged(make(contents), rng)


def _packed(pack: Callable[[bytes], bytes]) -> Callable[[Contents, random.Random], bytes]:
    """A tar archive, damaged before it is packed, or afterwards, where a checksum tells."""

    def make(contents: Contents, rng: random.Random) -> bytes:
        form = rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
        plain = tar_of(contents, form=form)
        return pack(_damaged(plain, rng)) if rng.random() < 0.6 else _damaged(pack(plain), rng)

    return make


def _paths(rng: random.Random) -> bytes:
    """Lines that lead nowhere, but for the list itself, which is no picture; none leads out of the folder."""
    lines = [b"stdin", b"missing.jpg", b"caf\xe9.png", b"", b"x" * rng.randrange(1, 5_000), b"*.jpg", b"."]
    text = rng.choice([b"\n", b"\r\n", b"\0"]).join(rng.choices(lines, k=rng.randrange(1, 30)))
    return mutated(text, rng).replace(b"/", b"_").replace(b"..", b"__")


ARCHIVES: Mapping[str, Callable[[Contents, random.Random], bytes]] = {
    "tar": _packed(bytes),
    "tar.gz": _packed(gzip.compress),
    "tar.bz2": _packed(bz2.compress),
    "tar.xz": _packed(lzma.compress),
    "zip": _zipped(zip_of),
    "streamed.zip": _zipped(streamed_zip_of),
}
