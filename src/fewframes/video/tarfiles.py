"""A tar file and the name of a file in it come in; the range of bytes that this file has in the tar file goes out."""

from __future__ import annotations

import difflib
import tarfile
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import BinaryIO, cast

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.video.storage import ByteReader, Range, RangeFile

__all__ = ["find_member", "split_member"]

_SCHEME, _SEPARATOR = "tar://", "::"
_EXAMPLE = "tar://folder/clip.mp4::/data/clips.tar"
# First bytes of the compressed forms. Inside those no file lies at any place of its own.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
_MAX_INDEXES = 64

# What each tar file holds, by its name, length and time of change; the one used longest ago goes first.
_indexes: dict[Hashable, Mapping[str, Range | str]] = {}
_lock = threading.Lock()


def split_member(address: str) -> tuple[str, str]:
    """The name of the member and the path or address of the tar file in tar://MEMBER::PATH_OR_ADDRESS.

    Raises:
        UsageError: it does not have this form.
    """
    member, separator, archive = address[len(_SCHEME) :].partition(_SEPARATOR)
    if not member or not separator or not archive:
        raise UsageError(f"{address} names no file in a tar file; expected something like {_EXAMPLE}")
    if archive.lower().startswith(_SCHEME):
        raise UsageError(f"{address} names a tar file in a tar file, which is not read; unpack the outer one")
    return member, archive


def find_member(member: str, *, name: str, key: Hashable, open_archive: Callable[[], ByteReader]) -> Range:
    """Where a file lies in a tar file. Where several have the same name the last counts, as for tar itself.

    The tar file's headers are read once in each process, and one after the other, since each says where the next is.

    Args:
        member: its name in the tar file, with or without a leading "./".
        name: how messages name the whole address.
        key: what the tar file's content is known by; another one after it has changed.
        open_archive: gives the bytes of the tar file.

    Raises:
        UnreadableVideo: it is no tar file, it is compressed, cut short, or does not hold such a file.
    """
    with _lock:
        index = _indexes.pop(key, None)
    if index is None:
        archive = open_archive()
        try:
            index = _read_index(archive, name)
        finally:
            archive.close()
    with _lock:
        _indexes[key] = index
        while len(_indexes) > _MAX_INDEXES:
            del _indexes[next(iter(_indexes))]
    wanted = _plain(member)
    if wanted not in index:
        near = difflib.get_close_matches(wanted, index, n=1, cutoff=0.0)
        hint = f"did you mean {near[0]!r}?" if near else "it holds no file at all"
        raise UnreadableVideo(name, f"the tar file has no member {member!r}; {hint}")
    found = index[wanted]
    if isinstance(found, str):
        raise UnreadableVideo(name, f"the member {member!r} {found}")
    return found


def _read_index(archive: ByteReader, name: str) -> dict[str, Range | str]:
    """Name of each member -> its bytes, or why it has none to read."""
    start = archive.read_range(0, max(map(len, _COMPRESSED)))
    for magic, (kind, remedy) in _COMPRESSED.items():
        if start.startswith(magic):
            raise UnreadableVideo(
                name,
                f"the tar file is compressed ({kind}), so that no part of it can be read alone; run {remedy} first",
            )
    try:
        # It has what tarfile asks of a file: read, seek and tell.
        with tarfile.open(fileobj=cast(BinaryIO, RangeFile(archive)), mode="r:") as opened:
            return {_plain(each.name): _place(each, archive.size) for each in opened}
    except tarfile.TarError as error:
        raise UnreadableVideo(name, f"the tar file is damaged, cut short or none at all: {error}") from error


def _place(member: tarfile.TarInfo, size_of_archive: int) -> Range | str:
    if member.issym() or member.islnk():
        return f"is a link to {member.linkname!r}; name that"
    if not member.isreg():
        return "is no file; name a video file"
    if member.issparse():
        return "is stored with holes, in several pieces; pack it again without --sparse"
    stop = member.offset_data + member.size
    if stop > size_of_archive:
        return f"is cut short, as the tar file ends {stop - size_of_archive} bytes early; copy it anew"
    return member.offset_data, stop


def _plain(name: str) -> str:
    return name.removeprefix("./")
