"""Reads the pictures of a tar archive as a stream, member after member."""

from __future__ import annotations

from collections.abc import Iterator

from vit_runtime.sources.members import Members, too_large
from vit_runtime.sources.source import Found, failure
from vit_runtime.sources.tar_headers import Stream, TarMember, TarReader


def tar_pictures(stream: Stream, members: Members) -> Iterator[Found]:
    """Gives the pictures of a tar archive in any format; sparse files become records.

    Raises:
        ImageError: the archive is damaged or cut off at this point, or unpacks to too much.
    """
    reader = TarReader(stream, members.archive)
    while (member := reader.next_member()) is not None:
        called = members.picture(member.name) if member.is_file else None
        if not isinstance(called, str):
            reader.skip(member.size)
            if called is not None:
                yield called
        else:
            yield _picture(reader, member, called, members)


def _picture(reader: TarReader, member: TarMember, called: str, members: Members) -> Found:
    if not member.is_sparse and 0 < member.size <= members.most_bytes:
        return Found(called, reader.content(member.size))
    reader.skip(member.size)
    if member.is_sparse:
        return failure(called, "is stored as a sparse file, which is not read", "unpack the archive")
    return Found(called, b"", too_large(called, members.most_bytes)) if member.size else failure(called, "empty")
