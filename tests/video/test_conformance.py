"""Generated and real files against a plain decode, damaged ones under limits; and the judges of these themselves."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers import conformance, fuzz
from tests.helpers.conformance import Given, judge, read_all, read_few
from tests.helpers.damage import KINDS, MADE, header_fields, make, mutate
from tests.helpers.guarded import Guard
from tests.helpers.plain_decode import decode_plainly, place

SOUND = {"path": "", "decoded_frames": "60", "rotation": ""}
FOLDERS = {
    "audio_only": 3,
    "codecs": 9,
    "good": 6,
    "long_gop": 5,
    "malformed": 30,
    "no_duration_or_absurd": 3,
    "rotation": 8,
    "short_or_tiny": 4,
    "timestamps": 8,
    "vfr": 5,
}


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard() as made:
        yield made


@pytest.fixture(scope="module")
def made_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("made")
    for name in MADE:
        (folder / name).write_bytes(make(name))
    return folder


@pytest.mark.parametrize("name", MADE)
def test_all_frames_of_a_generated_file_are_those_of_a_plain_decode(name: str, made_files: Path) -> None:
    path, count = made_files / name, MADE[name]["count"]
    row = {"path": name, "decoded_frames": str(count), "rotation": str(-MADE[name].get("clockwise", 0) or "")}
    assert judge(row, decode_plainly(path), read_few(path, 0), read_all(path, 1)) == ("exact", [])


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_files_are_exact_or_refused_with_a_reason(folder: str, data_dir: Path, guard: Guard) -> None:
    fixtures = data_dir / "fixtures"
    with (fixtures / "expected.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith(f"{folder}/")]
    assert len(rows) == FOLDERS[folder]
    for row in rows:
        path = fixtures / row["path"]
        ended = guard.run(read_few, path, 0)
        assert (ended.how, ended.output) == ("returned", ""), (row["path"], ended)
        reading = ended.value
        # One packet of the file with an invalid unit is lost, so that a plain decode counts one frame less.
        wanted = {each.index - shift for each in reading.given for shift in (0, 1)} | {0}
        plain = decode_plainly(path, wanted=wanted)
        assert judge(row, plain, reading, complete=False)[1] == [], row["path"]


@pytest.mark.parametrize("number", range(60))
def test_a_damaged_file_is_read_or_refused(number: int, made_files: Path, guard: Guard) -> None:
    source = made_files / list(MADE)[number % len(MADE)]
    verdict = fuzz.judge_damaged(guard, source, 20, number)
    assert verdict.passes, (fuzz.damaged(source, 20, number)[1], verdict)


def test_damage_is_repeatable_and_changes_the_file() -> None:
    data = make("b_frames.mp4")
    copies = [mutate(data, np.random.default_rng([3, number])) for number in range(200)]
    assert copies == [mutate(data, np.random.default_rng([3, number])) for number in range(200)]
    assert sum(content == data for content, _ in copies) < 20  # such as a bit flipped twice, or a swap with itself
    assert {kind for kind in KINDS if any(done.startswith(f"{kind}:") for _, done in copies)} == set(KINDS)


@pytest.mark.parametrize(
    ("name", "fields"),
    [("b_frames.mp4", ("stts", "stsz", "elst")), ("h264.mkv", ("d7", "head of a3")), ("mpeg4.avi", ("strh", "idx1"))],
)
def test_headers_are_found_by_name(name: str, fields: tuple[str, ...]) -> None:
    data = make(name)
    found = {field.name: field for field in header_fields(data)}
    assert found.keys() >= set(fields)
    assert all(0 <= field.start < field.stop <= len(data) for field in found.values())
    if name.endswith("mp4"):
        stsz = found["stsz"]
        assert int.from_bytes(data[stsz.start + 8 : stsz.start + 12], "big") == 60
        assert data[stsz.start - 4 : stsz.start] == b"stsz"


# The judges must be able to say no


def test_the_judge_finds_what_is_wrong() -> None:
    data = make("b_frames.mp4")
    plain, good = decode_plainly(io.BytesIO(data)), read_all(data, 0)
    assert judge(SOUND, plain, good) == ("exact", [])
    assert good.info is not None

    def complaints(**changed: object) -> str:
        return " ".join(judge(SOUND, plain, replace(good, **changed))[1])

    one_late = tuple(given._replace(digest=good.given[max(0, given.index - 1)].digest) for given in good.given)
    assert "frame 1 has other pixels than in a plain decode" in complaints(given=one_late)
    slow = tuple(given._replace(seconds=given.seconds * 1.01) for given in good.given)
    assert "frame 59 at 2.38" in complaints(given=slow)
    assert "1 of 60 frames missing" in complaints(given=tuple(given for given in good.given if given.index != 59))
    assert "frame 7 has other pixels" in complaints(given=(*good.given, Given(7, 0.28, b"")))
    assert "turned by 90 degrees, expected 0" in complaints(info=replace(good.info, rotation_degrees=90))
    assert "61 frames, expected 60" in complaints(info=replace(good.info, num_frames=61))
    assert "variable_frame_rate is True" in complaints(info=replace(good.info, variable_frame_rate=True))
    assert "damage after None frames" in complaints(refusal="decodes only up to frame 30 of 60")
    assert "a plain decode gives 60 frames" in complaints(info=None, refusal="it is not a video file")
    assert "60 frames, but none were expected" in judge({**SOUND, "decoded_frames": "N/A"}, plain, good)[1]


def test_a_plain_decode_places_pixels_by_the_matrix() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for matrix, expected in {
        (1, 0, 0, 1): image,
        (-1, 0, 0, -1): image[::-1, ::-1],
        (0, 1, -1, 0): np.rot90(image, k=-1),
        (0, -1, 1, 0): np.rot90(image),
        (-1, 0, 0, 1): image[:, ::-1],
        (0, 1, 1, 0): image.transpose(1, 0, 2),
    }.items():
        assert np.array_equal(place(image, matrix), expected), matrix


class LateTrack:
    """A container whose demuxer stumbles at its end, as PyAV's does over a track that begins late."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self._container = container

    def __enter__(self) -> LateTrack:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._container, name)

    def demux(self, stream: av.VideoStream) -> Iterator[av.Packet[av.VideoStream]]:
        yield from self._container.demux(stream)
        raise IndexError("list index out of range")


def test_a_plain_decode_outlives_a_track_that_begins_late(made_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = decode_plainly(made_files / "h264.ts")
    really_open = av.open
    monkeypatch.setattr(av, "open", lambda *args, **options: LateTrack(really_open(*args, **options)))
    assert decode_plainly(made_files / "h264.ts") == before
    assert len(before.frames) == MADE["h264.ts"]["count"]


def stop(how: str) -> str:
    if how == "crash":
        os.abort()
    if how == "hang":
        time.sleep(600)
    while how == "busy":
        pass
    if how == "noise":
        sys.stderr.write("noise\n")
        sys.stderr.flush()
    if how == "error":
        raise LookupError("not ours")
    return how


def test_a_guard_says_how_a_function_ended() -> None:
    with Guard() as guard:
        assert guard.run(stop, "well").value == "well"
        crash = guard.run(stop, "crash")
        assert crash.how == "crash" and "Abort" in crash.output
        assert guard.run(stop, "well").value == "well"  # by a new process
        for kind in ("hang", "busy"):
            assert guard.run(stop, kind, seconds=0.2).how == "hang"
            assert guard.run(stop, "well").value == "well"
        error = guard.run(stop, "error")
        assert error.how == "raised" and "LookupError: not ours" in error.value
        assert guard.run(stop, "noise").output == "noise\n"
        assert guard.run(stop, "well").output == ""
    with Guard(megabytes=1) as guard:
        assert guard.run(stop, "well").how == "memory"


def verdict(found: fuzz.Met) -> fuzz.Verdict:
    returned = fuzz.Ended("returned", found, 0.0, 0.0, "")
    return fuzz.verdict(returned, returned)


def test_verdicts_of_damaged_files(made_files: Path) -> None:
    source = made_files / "b_frames.mp4"
    data = source.read_bytes()
    met = fuzz.compare(data, source, fuzz.read_damaged(data))
    assert verdict(met).name == "read"
    assert met.every is not None and met.plain is not None and met.few.info is not None
    shifted = tuple(given._replace(digest=met.every.given[0].digest) for given in met.few.given)
    assert verdict(replace(met, few=replace(met.few, given=shifted))).name == "wrong frames"
    assert verdict(replace(met, few=replace(met.few, wrong=("num_frames is 0",)))).name == "wrong result"
    spoilt = replace(met.plain, frames=tuple((b"", *times) for _, *times in met.plain.frames))
    assert verdict(replace(met, plain=spoilt)).name == "spoilt otherwise, unnoticed"
    assert verdict(replace(met, plain=replace(spoilt, num_corrupt=1))).name == "spoilt otherwise, noticed"
    refused = replace(met.few, refusal="it is not a video file")
    assert verdict(replace(met, few=refused)).name == "refused though it decodes"
    assert verdict(fuzz.Met(refused)).name == "refused at a frame"
    assert verdict(fuzz.Met(replace(refused, info=None))).name == "refused at open"
    assert conformance.contradictions(met.few, met.every) == []


def test_memory_that_a_decoder_never_wrote_is_no_picture(made_files: Path) -> None:
    source = made_files / "mjpeg.avi"
    data, at = bytearray(source.read_bytes()), -1
    for _ in range(10):
        at = data.index(b"\xff\xda", at + 1)
    data[at + 2 : at + 4] = b"\0\0"  # the length of the header before the picture proper, of frame 9
    met = fuzz.compare(bytes(data), source, fuzz.read_damaged(bytes(data)))
    assert met.plain is not None and met.before is not None and met.every is not None
    # The decoder neither complains nor writes: frame 9 is what lay in its memory, here an older frame.
    assert met.plain.damaged_at is None and met.plain.num_corrupt == 0
    assert met.plain.pictures[9] in met.before.pictures[:9]
    assert met.every.given[9].digest != met.plain.pictures[9]
    assert met.unwritten == {9}
    assert verdict(met).name == "spoilt otherwise, unnoticed"
    assert verdict(replace(met, unwritten=frozenset())).name == "wrong frames"
    elsewhere = tuple(each._replace(digest=met.before.pictures[0]) for each in met.every.given if each.index == 8)
    assert verdict(replace(met, few=replace(met.few, given=elsewhere))).name == "wrong frames"
    # Without numbers to trust, two whole pictures of one frame are wrong, unless memory was seen.
    seen_twice = tuple(met.every.given[9]._replace(digest=digest) for digest in met.before.pictures[:2])
    lost = replace(met, plain=replace(met.plain, damaged_at=5), few=replace(met.few, given=seen_twice))
    assert verdict(lost).name == "spoilt otherwise, noticed"
    assert "two different whole pictures" in verdict(replace(lost, unwritten=frozenset())).detail
    assert decode_plainly(source, hold=True) == met.before
