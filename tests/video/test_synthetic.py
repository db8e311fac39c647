"""Labelled synthetic videos: pairs that differ in order only, equal pixels from equal seeds, real files, refusals."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fewframes.errors import UnknownName, UsageError
from fewframes.video import synthetic
from fewframes.video.synthetic import ACTION_PAIRS, default_classes, encode_video, render_video, synthesize

EVERY_LABEL = default_classes(16)


def decode(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made"), num_videos=20, num_test_videos=5, seed=7)


def test_default_classes_are_whole_pairs_in_order() -> None:
    assert default_classes() == ("move_right", "move_left", "rise", "fall", "approach", "recede", "meet", "part")
    assert default_classes(2) == ("move_right", "move_left")
    assert len(ACTION_PAIRS) == 8
    assert len(set(EVERY_LABEL)) == 16
    assert all(name.isidentifier() and name.islower() for name in EVERY_LABEL)


@pytest.mark.parametrize("number", [0, -2, 3, 7, 18])
def test_default_classes_refuses_half_pairs_and_too_many(number: int) -> None:
    with pytest.raises(UsageError, match=f"classes is {number}; classes come in pairs.* 2 to 16"):
        default_classes(number)


@pytest.mark.parametrize(("forward", "backward"), ACTION_PAIRS)
@pytest.mark.parametrize("seed", [0, (3, 11)])
def test_one_seed_gives_a_pair_the_same_frames_in_opposite_orders(
    forward: str, backward: str, seed: int | tuple[int, int]
) -> None:
    there, there_fps = render_video(forward, seed)
    back, back_fps = render_video(backward, seed)
    assert there_fps == back_fps
    np.testing.assert_array_equal(there, back[::-1])
    assert not np.array_equal(there, back)
    assert Counter(frame.tobytes() for frame in there) == Counter(frame.tobytes() for frame in back)
    np.testing.assert_array_equal(there.mean(axis=0, dtype=np.float64), back.mean(axis=0, dtype=np.float64))


@settings(max_examples=30, deadline=None)
@given(label=st.sampled_from(EVERY_LABEL), seed=st.integers(0, 2**40))
def test_every_video_keeps_to_its_ranges_and_comes_again(label: str, seed: int) -> None:
    frames, fps = render_video(label, seed)
    num_frames, height, width, channels = frames.shape
    assert (frames.dtype, channels) == (np.uint8, 3)
    assert fps in {Fraction(rate) for rate in (12, 15, 24, 25, Fraction(30000, 1001), 30)}
    assert 20 <= num_frames <= 48
    assert 1.49 < num_frames / fps <= 4
    assert 80 <= min(height, width) <= 128
    assert max(height, width) <= 228
    assert height % 2 == width % 2 == 0
    np.testing.assert_array_equal(frames, render_video(label, seed)[0])


def test_the_format_comes_from_the_seed_whatever_the_label() -> None:
    for seed in range(4):
        formats = {(frames.shape, fps) for frames, fps in (render_video(label, seed) for label in EVERY_LABEL)}
        assert len(formats) == 1


def test_other_seeds_give_other_pixels() -> None:
    frames = [render_video("rise", seed)[0] for seed in (0, 1, (1, 2), (2, 1))]
    assert len({clip.tobytes() for clip in frames}) == 4


@pytest.mark.parametrize(
    ("label", "axis", "sign"), [("move_right", 1, 1), ("move_left", 1, -1), ("rise", 0, -1), ("fall", 0, 1)]
)
def test_the_vivid_object_goes_where_the_label_says(label: str, axis: int, sign: int) -> None:
    for seed in range(12):
        frames, _ = render_video(label, seed)
        places = []
        for frame in frames[:: len(frames) // 5]:
            # The background's saturation stays below 0.4 x 0.5 x 255 x 1.12 = 57; the object's is up to 255.
            vivid = np.argwhere(np.ptp(frame.astype(int), axis=2) > 90)
            places.append(vivid.mean(axis=0)[axis] * sign)
        assert np.all(np.diff(places) > 0), seed
        assert places[-1] - places[0] > 0.3 * min(frames.shape[1:3])


def test_unknown_labels_and_negative_seeds_are_refused() -> None:
    with pytest.raises(UnknownName, match="unknown action 'move_rigth'; did you mean 'move_right'"):
        render_video("move_rigth", 0)
    with pytest.raises(UsageError, match=r"seed is -1; expected integers of at least 0"):
        render_video("rise", -1)
    with pytest.raises(UsageError, match=r"seed is \(3, -2\)"):
        render_video("rise", (3, -2))


def test_encoding_keeps_the_pixels_the_rate_and_every_frame() -> None:
    frames, _ = render_video("approach", 5)
    content = encode_video(frames, Fraction(30000, 1001), 5)
    assert content == encode_video(frames, Fraction(30000, 1001), 5)
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(30000, 1001)
        decoded = list(container.decode(stream))
    assert [round(frame.time * 30000 / 1001) for frame in decoded] == list(range(len(frames)))
    grey = np.stack([frame.to_ndarray(format="gray") for frame in decoded]).astype(float)
    # Luma of BT.601 in the range 16 to 235, from the RGB that went in.
    luma = 16 + frames @ np.array([65.481, 128.553, 24.966]) / 255
    # Decoding to "gray" stretches 16..235 to 0..255.
    error = np.sqrt((((luma - 16) * 255 / 219 - grey) ** 2).mean(axis=(1, 2)))
    assert error.max() < 6


def test_quality_does_not_tell_the_place_in_time() -> None:
    errors = []
    for seed in range(12):
        frames, fps = render_video(EVERY_LABEL[seed % 8], seed)
        with av.open(io.BytesIO(encode_video(frames, fps, seed))) as container:
            decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        error = np.abs(decoded.astype(int) - frames).mean(axis=(1, 2, 3))
        errors.append([part.mean() for part in np.array_split(error, 4)])
    first, *_, last = np.mean(errors, axis=0)
    assert last / first == pytest.approx(1, abs=0.15)


def test_the_manifest_lists_every_file_with_its_label_and_split(made: Path) -> None:
    assert made.name == "manifest.csv"
    assert made.read_text().splitlines()[:2] == [
        "path,label,split",
        "move_right/move_right_00000.mp4,move_right,train",
    ]
    listed = rows(made)
    assert [row["split"] for row in listed] == ["train"] * 20 + ["test"] * 5
    assert [row["label"] for row in listed] == [default_classes()[i % 8] for i in (*range(20), *range(5))]
    assert all(row["path"].split("/")[0] == row["label"] for row in listed)
    on_disk = {path.relative_to(made.parent).as_posix() for path in made.parent.rglob("*.mp4")}
    assert on_disk == {row["path"] for row in listed}
    assert len(on_disk) == 25
    others = {path.name for path in made.parent.rglob("*") if path.is_file()} - {Path(name).name for name in on_disk}
    assert others == {"manifest.csv", "synthetic.json"}


def test_classes_are_balanced_within_a_split(made: Path) -> None:
    for split in ("train", "test"):
        counts = Counter(row["label"] for row in rows(made) if row["split"] == split)
        assert max(counts.values()) - min(counts[name] for name in default_classes()) <= 1


def test_files_are_h264_in_mp4_and_differ_in_form(made: Path) -> None:
    rates, sizes = set(), set()
    for row in rows(made):
        with av.open(str(made.parent / row["path"])) as container:
            stream = container.streams.video[0]
            assert "mp4" in container.format.name
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
            assert not container.streams.audio
            rates.add(stream.average_rate)
            sizes.add((stream.height, stream.width))
    assert len(rates) >= 4
    assert len(sizes) >= 15
    assert {np.sign(height - width) for height, width in sizes} == {-1, 0, 1}


def test_a_file_shows_what_its_seed_renders(made: Path) -> None:
    # Video 3 is of class 3; the first video for testing is number 1,000,000 and of class 0.
    for path, index in (("fall/fall_00003.mp4", 3), ("move_right/move_right_1000000.mp4", 1_000_000)):
        frames, _ = render_video(path.split("/")[0], (7, index))
        decoded = decode(made.parent / path)
        assert decoded.shape == frames.shape
        # Chroma at half resolution blurs the edges of vivid objects; everything else stays close.
        assert np.median(np.abs(decoded.astype(int) - frames)) <= 3


def test_pixels_do_not_depend_on_workers_or_on_how_many_are_made(made: Path, tmp_path: Path) -> None:
    other = synthesize(tmp_path / "other", num_videos=6, num_test_videos=2, seed=7, workers=2)
    assert len(rows(other)) == 8
    for row in rows(other):
        np.testing.assert_array_equal(decode(other.parent / row["path"]), decode(made.parent / row["path"]))


def test_another_seed_makes_other_videos(made: Path, tmp_path: Path) -> None:
    other = synthesize(tmp_path, num_videos=1, seed=8)
    (row,) = rows(other)
    assert (other.parent / row["path"]).read_bytes() != (made.parent / row["path"]).read_bytes()


def test_an_interrupted_run_is_completed_without_making_finished_videos_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, calls = synthetic._make, []

    def stop_at_third(task: synthetic._Task) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(task.index)
        make(task)

    monkeypatch.setattr(synthetic, "_make", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path, num_videos=4, classes=2)
    assert not (tmp_path / "manifest.csv").exists()
    assert len(list(tmp_path.rglob("*.mp4"))) == 2

    def note(task: synthetic._Task) -> None:
        calls.append(task.index)
        make(task)

    monkeypatch.setattr(synthetic, "_make", note)
    first = synthesize(tmp_path, num_videos=4, classes=2)
    assert calls == [0, 1, 2, 3]
    content = first.read_bytes()
    assert synthesize(tmp_path, num_videos=4, classes=2).read_bytes() == content
    assert calls == [0, 1, 2, 3]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.suffix == ".mp4":
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UsageError, match=r"cannot write .*move_right_00000.mp4: No space left on device; make room"):
        synthesize(tmp_path, num_videos=2)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"synthetic.json"}


def test_folders_of_others_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"is not empty \(it holds 'holiday.txt'\).* choose a new or empty folder"):
        synthesize(tmp_path, num_videos=2)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]
    with pytest.raises(UsageError, match=r"cannot make videos in .*holiday.txt: File exists; choose another folder"):
        synthesize(tmp_path / "holiday.txt", num_videos=2)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"classes": 4}, {"num_videos": 3}, {"num_test_videos": 1}],
    ids=lambda change: next(iter(change)),
)
def test_a_folder_made_with_other_settings_is_refused(tmp_path: Path, change: dict[str, int]) -> None:
    chosen = {"num_videos": 1, "num_test_videos": 0, "seed": 0, "classes": 2}
    synthesize(tmp_path, **chosen)
    with pytest.raises(UsageError, match=r"holds videos made with .*choose another folder or delete this one"):
        synthesize(tmp_path, **{**chosen, **change})
    assert json.loads((tmp_path / "synthetic.json").read_text()) == {"renderer": 1, **chosen}


def test_a_damaged_settings_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "synthetic.json").write_text("{")
    with pytest.raises(UsageError, match="holds videos made with unreadable settings"):
        synthesize(tmp_path, num_videos=1)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("num_videos", 0, "1 to 1000000"),
        ("num_videos", 1_000_001, "1 to 1000000"),
        ("num_test_videos", -1, "0 to 1000000"),
        ("seed", -1, "0 to "),
        ("workers", 0, "1 to "),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, name: str, value: int, expected: str
) -> None:
    arguments = {"num_videos": 2, name: value}
    with pytest.raises(UsageError, match=f"{name} is {value}; expected {expected}"):
        synthesize(tmp_path / "new", **arguments)
    with pytest.raises(UsageError, match="classes is 5"):
        synthesize(tmp_path / "new", num_videos=2, classes=5)
    assert not (tmp_path / "new").exists()


def test_progress_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthesize(tmp_path / "loud", num_videos=1, progress=True)
    loud = capsys.readouterr()
    assert loud.out == ""
    assert "Rendering videos" in loud.err
    synthesize(tmp_path / "quiet", num_videos=1)
    assert capsys.readouterr() == ("", "")


def test_worker_processes_need_not_load_torch() -> None:
    check = "import sys, fewframes.video.synthetic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from fewframes.video.synthetic import synthesize\n"
        f"synthesize({str(tmp_path / 'videos')!r}, num_videos=2, workers=2)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "UsageError: a worker process ended before its videos were made" in done.stderr
