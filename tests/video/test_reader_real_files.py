"""Real files, good and bad: each gives what a plain sequential decode gives, or is refused with a typed reason."""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from fewframes.errors import UnreadableVideo
from fewframes.video.reader import open_video

# These hold frames, but fewer than they promise. Whatever else is refused gives a plain decode nothing at all.
REFUSED = {
    "no_duration_or_absurd/file_type__fixture2.mkv": r"holds only 37 frames \(1\.6 s of 1132\.0 s\), .* cut short",
    "malformed/libwebm__invalid__block_ends_beyond_cluster.mkv": "the file is cut short",
    "malformed/libwebm__invalid__blockgroup_block_ends_beyond_blockgroup.mkv": "the file is cut short",
    "malformed/decord__corrupted.mp4": r"up to frame 28 of 50 .*the file is damaged there",
    "malformed/mp4parse_capi__no_timescale.mp4": r"up to frame 8 of 182 .*the file is damaged there",
    "rotation/mp4parse_capi__no_timescale.mp4": r"up to frame 8 of 182 .*the file is damaged there",
}
# One packet of this file is damaged, and a plain decode lacks its frame; no other frame needs it.
LACKS_FRAME_26 = "malformed/androidx_media__mp4__sample_with_invalid_nalu.mp4"
# The decoder of this AVI gives times out of order.
NO_TIMES = "long_gop/mmaction2__tests__data__test.avi"
MIRRORED = "rotation/androidx_media__mp4__sample_rotate_and_reflect.mp4"
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


def plain_decode(path: Path, wanted: Collection[int]) -> tuple[list[float], dict[int, np.ndarray]]:
    """Feed every packet to a decoder: when each frame is shown, and the `wanted` ones as upright, square RGB."""
    times, pictures = [], {}
    with av.open(f"file:{path}", metadata_errors="replace") as container:
        videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not videos or videos[0].codec_context is None:
            return [], {}
        stream, aspect = videos[0], videos[0].sample_aspect_ratio or Fraction(1)
        # Threads lose more frames around damage than one does.
        stream.thread_type = "NONE" if "malformed" in path.parts else "AUTO"
        for packet in container.demux(stream):
            try:
                frames = stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                continue
            for frame in frames:
                if len(times) in wanted:
                    matrix = {1: 1, 5: 5, 6: 5, 9: 9}.get(frame.colorspace, 1 if frame.height >= 720 else 5)
                    width = int(frame.width * aspect + Fraction(1, 2))
                    rgb = frame.to_ndarray(format="rgb24", width=width, src_colorspace=matrix)
                    pictures[len(times)] = np.rot90(rgb, k=frame.rotation // 90)
                times.append(float((frame.pts or 0) * stream.time_base))
    return [time - times[0] for time in times], pictures


def check_like_plain_decode(folder: Path, name: str) -> None:
    with open_video(folder / name) as reader:
        info, last = reader.info, reader.info.num_frames - 1
        indices = sorted({0, last // 3, last // 2, last}, reverse=True)
        frames = reader.frames_at(indices)
    at = {index: index - (name == LACKS_FRAME_26 and index > 26) for index in indices}
    times, pictures = plain_decode(folder / name, at.values())
    assert info.num_frames == len(times) + (name == LACKS_FRAME_26)
    if name != NO_TIMES:
        assert frames.seconds.tolist() == pytest.approx([times[at[index]] for index in indices], abs=1e-9)
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert info.duration_seconds >= times[-1] + (min(gaps) if gaps else 0) - 1e-9
    for picture, index in zip(frames.pixels, indices, strict=True):
        expected = pictures[at[index]][:, ::-1] if name == MIRRORED else pictures[at[index]]
        assert np.array_equal(picture.permute(1, 2, 0).numpy(), expected), index


@pytest.mark.parametrize("folder", FOLDERS)
def test_like_a_plain_decode_or_refused(folder: str, data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fixtures = data_dir / "fixtures"
    with (fixtures / "expected.csv").open(newline="") as file:
        names = [row["path"] for row in csv.DictReader(file) if row["path"].startswith(f"{folder}/")]
    assert len(names) == FOLDERS[folder]
    for name in names:
        if name in REFUSED:
            with pytest.raises(UnreadableVideo, match=REFUSED[name]):
                check_like_plain_decode(fixtures, name)
            continue
        try:
            check_like_plain_decode(fixtures, name)
        except UnreadableVideo as error:
            assert "\n" not in error.reason
            with contextlib.suppress(av.FFmpegError):
                assert plain_decode(fixtures / name, ())[0] == [], name
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "num_frames"), [("long_180p_av1.mp4", 21766), ("long_1080p_lowbitrate.mp4", 10883)], ids=["av1", "h264"]
)
def test_six_minutes_are_not_decoded_for_three_frames(name: str, num_frames: int, data_dir: Path) -> None:
    with open_video(data_dir / "fixtures" / "long" / f"androidx_media__mp4__{name}") as reader:
        assert reader.info.num_frames == num_frames
        wanted = [num_frames - 1, 0, num_frames // 2]
        frames = reader.frames_at(wanted)
        assert reader.frames_at_seconds(frames.seconds.tolist()).indices == tuple(wanted)
    assert frames.seconds.tolist() == pytest.approx([index / reader.info.fps for index in wanted], abs=0.1)
