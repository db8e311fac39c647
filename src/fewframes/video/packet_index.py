"""A file's own list of samples and FFmpeg's come in; what both say of each packet, and where it lies, goes out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from fewframes.video.mp4 import SampleTable
from fewframes.video.timeline import PacketTable

__all__ = ["PacketIndex", "join_tables"]

# Entries at each end of FFmpeg's list of samples that are compared with ours.
_COMPARED = 64


@dataclass(frozen=True)
class PacketIndex:
    """Where each packet lies, for a file whose index tells it.

    Attributes:
        positions: (P,) int64, by packet number.
        sizes: (P,) int64 bytes.
        by_position: (P,) int64, packet numbers in the order of their positions.
        sorted_positions: (P,) int64, the positions in that order.
    """

    positions: NDArray[np.int64]
    sizes: NDArray[np.int64]
    by_position: NDArray[np.int64]
    sorted_positions: NDArray[np.int64]

    def number_at(self, position: int | None) -> int:
        """The number of the packet that begins there; -1 if none does."""
        if position is None:
            return -1
        at = int(self.sorted_positions.searchsorted(position))
        found = at < len(self.by_position) and self.sorted_positions[at] == position
        return int(self.by_position[at]) if found else -1


def join_tables(table: SampleTable, stream: VideoStream) -> tuple[PacketTable, PacketIndex] | None:
    """The samples that FFmpeg will give as packets, in its order, and where they lie.

    Args:
        table: the file's own list.
        stream: the track that FFmpeg made of it; where an edit list hides samples, FFmpeg's list says which remain.

    Returns:
        The packets, their times right up to one common shift, and their places; None where the lists do not agree.
    """
    if _agree_at_the_ends(table, stream):
        number, times = np.arange(len(table.sizes)), table.dts
        is_key, is_shown = table.is_key, np.ones(len(number), bool)
    else:
        listed = [(each.pos, each.timestamp, each.is_keyframe, each.is_discard) for each in stream.index_entries]
        columns = np.array(listed, np.int64).reshape(-1, 4)
        by_position = np.argsort(table.positions, kind="stable")
        at = np.searchsorted(table.positions[by_position], columns[:, 0])
        if len(columns) == 0 or at.max() >= len(by_position):
            return None
        number, times = by_position[at], columns[:, 1]
        if (table.positions[number] != columns[:, 0]).any():
            return None
        is_key, is_shown = columns[:, 2].astype(bool), ~columns[:, 3].astype(bool)
    positions, sizes = table.positions[number], table.sizes[number]
    order = np.argsort(positions, kind="stable")
    index = PacketIndex(positions, sizes, order, positions[order])
    if (np.diff(index.sorted_positions) == 0).any() or (sizes <= 0).any():
        return None
    packets = PacketTable(times + table.offsets[number], table.durations[number], is_key, is_shown)
    return packets, index


def _agree_at_the_ends(table: SampleTable, stream: VideoStream) -> bool:
    """Whether FFmpeg lists the same samples; only the ends are compared, where edits are, as all would take long."""
    entries, count = stream.index_entries, len(table.sizes)
    if not table.shows_every_sample or len(entries) != count:
        return False
    some = {*range(min(_COMPARED, count)), *range(max(0, count - _COMPARED), count)}
    return all(
        entries[k].pos == table.positions[k] and entries[k].is_keyframe == table.is_key[k] and not entries[k].is_discard
        for k in some
    )
