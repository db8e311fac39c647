"""Comes in: a good file, a seed and a number. Goes out: how the reader takes a copy that was damaged in that way."""

from __future__ import annotations

import functools
import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fewframes.errors import UnreadableVideo
from fewframes.video.reader import VideoReader, open_video
from fewframes.video.sampling import uniform_indices
from tests.helpers.conformance import CHUNK, FRAMES, Book, Reading, contradictions
from tests.helpers.damage import mutate
from tests.helpers.guarded import Ended, Guard
from tests.helpers.plain_decode import PlainVideo, decode_plainly

# A header may claim frames of 200 MB; how much is asked for in one call is the caller's choice.
MOST_BYTES_A_CALL = 256 * 1024 * 1024
# Videos up to this size are also read from beginning to end, by the reader and plainly.
SMALL_BYTES = 200_000_000
PROOF_SECONDS = 120.0

READS, REFUSES = "read", ("refused at open", "refused at a frame")
# Pictures that damage has spoilt in a plain decode too, and that come out spoilt in another way.
SPOILT = ("spoilt otherwise, noticed", "spoilt otherwise, unnoticed")
# A plain decode notices nothing and gives as many frames as before the damage, but the reader refuses.
STRICT = "refused though it decodes"
PASSES = (READS, *REFUSES, STRICT, *SPOILT)


@dataclass(frozen=True)
class Met:
    """What one damaged file led to.

    Attributes:
        few: a sparse reading.
        every: a reading of all frames in order, if the video is small; a second reader's.
        plain: a plain decode, if the video is small.
        before: a plain decode of the file before it was damaged.
        unwritten: the numbers of the plain decode's pictures that show memory which the decoder never wrote; looked for
            only where it matters.
    """

    few: Reading
    every: Reading | None = None
    plain: PlainVideo | None = None
    before: PlainVideo | None = None
    unwritten: frozenset[int] = frozenset()

    @property
    def whole(self) -> frozenset[bytes]:
        """The pictures that the file had before it was damaged."""
        return frozenset(self.before.pictures if self.before else ())


@dataclass(frozen=True)
class Verdict:
    """Of one damaged file: `name` is one of `PASSES` or of the failures, `detail` one or more lines."""

    name: str
    detail: str
    seconds: float
    peak_mb: float

    @property
    def passes(self) -> bool:
        """Whether the reader keeps its word."""
        return self.name in PASSES


def damaged(source: Path, seed: int, number: int) -> tuple[bytes, str]:
    """Damage `number` of a file: its content, and what was done. The name counts, the folder does not."""
    name = int.from_bytes(hashlib.blake2b(source.name.encode(), digest_size=4).digest(), "big")
    return mutate(source.read_bytes(), np.random.default_rng([seed, number, name]))


def judge_damaged(guard: Guard, source: Path, seed: int, number: int) -> Verdict:
    """Damage a file and read it, in a process under limits."""
    return _judge(guard, damaged(source, seed, number)[0], source)


def judge_file(guard: Guard, path: Path, source: Path) -> Verdict:
    """Read a copy of `source` that is damaged already, in a process under limits."""
    return _judge(guard, path.read_bytes(), source)


def _judge(guard: Guard, content: bytes, source: Path) -> Verdict:
    ended = guard.run(read_damaged, content)
    proof = guard.run(compare, content, source, ended.value, seconds=PROOF_SECONDS) if ended.how == "returned" else None
    return verdict(ended, proof)


def verdict(ended: Ended, proof: Ended | None) -> Verdict:
    """What a sparse reading in another process, and the comparison after it, amount to."""

    def found(name: str, *details: str) -> Verdict:
        return Verdict(name, "\n".join(details), ended.seconds, ended.peak_mb)

    for each in (ended, proof):
        if each is not None and each.how != "returned":
            return found("exception" if each.how == "raised" else each.how, str(each.value), each.output)
        if each is not None and each.output:
            return found("noise", each.output)
    assert proof is not None
    met: Met = proof.value
    if wrong := [*met.few.wrong, *(met.every.wrong if met.every else ())]:
        return found("wrong result", *wrong)
    wrong, spoilt = _pictures(met)
    if wrong:
        return found("wrong frames", *wrong)
    if spoilt:
        assert met.plain is not None
        noticed = met.plain.num_corrupt > 0 or met.plain.damaged_at is not None
        return found(SPOILT[not noticed], *spoilt)
    if met.few.refusal and met.plain and met.before and _seems_whole(met.plain, met.before):
        return found(STRICT, met.few.refusal)
    if met.few.refusal:
        return found(REFUSES[met.few.info is not None], met.few.refusal)
    return found(READS, "")


def _seems_whole(plain: PlainVideo, before: PlainVideo) -> bool:
    noticed = plain.damaged_at is not None or plain.num_corrupt > 0
    return len(plain.frames) == len(before.frames) and plain.times_ascend and not noticed


def _pictures(met: Met) -> tuple[list[str], list[str]]:
    """Frames that are wrong, and frames that are spoilt in another way than in a plain decode or another call.

    The measure is a plain decode of the damaged file. Where it still gives the picture of the undamaged one, so must
    the reader; what it gives spoilt depends on what the decoder saw before, which differs when the decoder jumps.

    A picture in which memory shows that the decoder never wrote is spoilt even if it looks whole: what it looks like is
    an older frame that the decoder happened to have at that place.
    """
    plain, every = met.plain, met.every
    if plain is None or every is None:
        return [], []
    differ = contradictions(met.few, every)
    same_frames = plain.damaged_at is None and plain.times_ascend and not every.refusal
    if not same_frames:
        # No number can be trusted: two whole pictures of one frame are wrong, of which one is another frame's.
        given: dict[int, set[bytes]] = {}
        for each in (*met.few.given, *every.given):
            given.setdefault(each.index, set()).add(each.digest)
        twice = [index for index, pictures in given.items() if len(pictures & met.whole) > 1]
        found = [f"frame {index} is two different whole pictures" for index in twice]
        return ([], differ + found) if met.unwritten else (found, differ)  # memory may be whole pictures, too
    if len({each.index for each in every.given}) != len(plain.frames):
        return [f"{len(every.given)} frames, a plain decode gives {len(plain.frames)}"], []
    wrong, spoilt, seconds = [], list(differ), plain.seconds
    assert every.info is not None
    if plain.shape != (every.info.height, every.info.width):
        wrong.append(f"frames are {every.info.height} x {every.info.width}, in a plain decode {plain.shape}")
    for each in (*met.few.given, *every.given):
        picture = plain.pictures[each.index]
        if abs(each.seconds - seconds[each.index]) > float(plain.tick):
            wrong.append(f"frame {each.index} at {each.seconds} s, in a plain decode at {seconds[each.index]} s")
        if each.digest != picture:
            is_whole = picture in met.whole and each.index not in met.unwritten
            (wrong if is_whole else spoilt).append(f"frame {each.index} has other pixels than in a plain decode")
    return wrong, spoilt


def compare(content: bytes, source: Path, few: Reading) -> Met:
    """All frames, and a plain decode of the damaged and of the undamaged file, if they are not too many."""
    before = _undamaged(source)
    if not _is_small(len(before.frames), before.shape):
        return Met(few)
    if few.info is None:
        return Met(few, None, decode_plainly(io.BytesIO(content), most=len(before.frames) + CHUNK), before)
    if not _is_small(few.info.num_frames, (few.info.height, few.info.width)):
        return Met(few)
    most = few.info.num_frames + CHUNK
    met = Met(few, _read_all(content), decode_plainly(io.BytesIO(content), most=most), before)
    if not _pictures(met)[0]:
        return met
    assert met.plain is not None
    pairs = zip(met.plain.pictures, decode_plainly(io.BytesIO(content), most=most, hold=True).pictures, strict=True)
    return replace(met, unwritten=frozenset(number for number, (one, other) in enumerate(pairs) if one != other))


@functools.lru_cache(maxsize=200)
def _undamaged(source: Path) -> PlainVideo:
    return decode_plainly(source)


def _is_small(num_frames: int, shape: tuple[int, int] | None) -> bool:
    height, width = shape or (0, 0)
    return 3 * num_frames * height * width <= SMALL_BYTES


def read_damaged(content: bytes) -> Reading:
    """Sixteen uniform frames, then some alone and out of order, whatever is refused in between."""
    rng, book = np.random.default_rng(len(content)), Book()
    try:
        with open_video(content) as reader:
            book.opened(reader.info)
            count = reader.info.num_frames
            most = max(1, MOST_BYTES_A_CALL // (3 * reader.info.width * reader.info.height))
            book.try_to_read(reader, uniform_indices(count, min(FRAMES, most)))
            for size in (1, 1, 1, min(4, most)):
                book.try_to_read(reader, rng.integers(count, size=size).tolist())
            _check_promise(book, reader)
    except UnreadableVideo as error:
        book.refused(error)
    return book.reading()


def _check_promise(book: Book, reader: VideoReader) -> None:
    """What a refusal says can still be had can be had."""
    said = book.reading().refused_from or 0
    for index in sorted({0, said // 2, said - 1}) if said else ():
        try:
            book.read(reader, [index])
        except UnreadableVideo as error:
            book.wrong.append(f"frame {index} cannot be had either ({error.reason}), but first: {book.refusal}")


def _read_all(content: bytes) -> Reading:
    book = Book()
    try:
        with open_video(content) as reader:
            book.opened(reader.info)
            for at in range(0, reader.info.num_frames, CHUNK):
                book.read(reader, range(at, min(at + CHUNK, reader.info.num_frames)))
    except UnreadableVideo as error:
        book.refused(error)
    return book.reading()
