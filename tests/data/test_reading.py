"""Reading: the frames of the one way through, and what they cost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from fewframes.data.reading import read_frames, shown_name
from fewframes.errors import UnreadableVideo
from fewframes.records import DecodeOptions, Sampling, SamplingRule
from fewframes.video.clip import load_frames
from tests.helpers.painted import read_numbers, write_painted


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reading") / "painted.mp4"
    write_painted(path, 90, gop=10)
    return path


@pytest.mark.parametrize("rule", ["uniform", "random_in_segment"])
@pytest.mark.parametrize(("start", "end"), [(None, None), (0.5, None), (None, 1.0), (1.0, 2.0)])
@pytest.mark.parametrize("seek", ["exact", "keyframe"])
def test_it_is_the_one_way_through(
    video: Path, rule: SamplingRule, start: float | None, end: float | None, seek: str
) -> None:
    decode = DecodeOptions(seek=seek)  # type: ignore[arg-type]
    sampling = Sampling(rule, 7)
    found = read_frames(video, sampling, random.Random(3), start=start, end=end, decode=decode)
    expected = load_frames(video, sampling, random.Random(3), start=start, end=end, decode=decode)
    assert torch.equal(found.frames.pixels, expected.pixels)
    assert found.frames.indices == expected.indices
    assert torch.equal(found.frames.seconds, expected.seconds)
    assert read_numbers(found.frames.pixels) == list(found.frames.indices)


def test_opening_and_decoding_are_both_counted(video: Path) -> None:
    found = read_frames(video, Sampling("uniform", 3))
    assert found.info.path == str(video)
    assert found.seconds > 0
    assert found.bytes_read == found.info.bytes_read + found.frames.bytes_read
    assert found.packets_decoded == found.info.packets_decoded + found.frames.packets_decoded
    assert found.frames.bytes_read < found.bytes_read <= video.stat().st_size + 65536


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match="no such file"):
        read_frames(tmp_path / "absent.mp4", Sampling("uniform", 3))


def test_names_without_secrets() -> None:
    assert shown_name(Path("a?sig=b.mp4")) == shown_name("a?sig=b.mp4") == "a?sig=b.mp4", "a file may be called so"
    signed = shown_name("https://host/a.mp4?Signature=0123456789abcdef&part=2")
    assert "0123456789abcdef" not in signed
    assert signed.startswith("https://host/a.mp4?")
