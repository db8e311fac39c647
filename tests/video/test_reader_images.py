"""Images in a folder or a shard are read like a video: upright, exactly, counted, and never with anything missing."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, Limits, Sampling
from fewframes.video.clip import load_frames
from fewframes.video.packed_clip import clip_address, clip_members, record_range, shard_end
from fewframes.video.reader import VideoReader, open_video
from fewframes.video.reader_images import ImagesBackend, is_image_folder, is_packed_clip
from fewframes.video.sampling import uniform_indices
from tests.helpers.painted import paint, read_numbers

EXACT = DecodeOptions()


def painting(number: int, height: int = 48, width: int = 64) -> Image.Image:
    return Image.fromarray(np.repeat(paint(number, height, width)[:, :, None], 3, axis=2))


def noise(height: int = 23, width: int = 37, seed: int = 0) -> Image.Image:
    """Smooth colours, no two pixels alike in a way that a turn would leave unchanged."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def write_folder(folder: Path, count: int, suffix: str = ".png", first: int = 1) -> Path:
    folder.mkdir()
    for number in range(count):
        painting(number).save(folder / f"img_{first + number:05d}{suffix}", lossless=True)
    return folder


def as_array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def only_frame(path: Path) -> np.ndarray:
    with open_video(path) as reader:
        pixels: np.ndarray = reader.frames_at([0]).pixels[0].permute(1, 2, 0).numpy()
    return pixels


# Folders


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_frames_are_the_images_in_order(tmp_path: Path, suffix: str) -> None:
    folder = write_folder(tmp_path / "f", 12, suffix, first=95)  # so that the numbers grow a digit
    with open_video(folder) as reader:
        frames = reader.frames_at([11, 0, 7, 7])
        info = reader.info
    assert read_numbers(frames.pixels) == [11, 0, 7, 7]
    assert frames.seconds.tolist() == [11 / 25, 0.0, 7 / 25, 7 / 25]
    assert (info.num_frames, info.fps, info.duration_seconds, info.width, info.height) == (12, 25.0, 12 / 25, 64, 48)
    assert (info.codec, info.variable_frame_rate, info.decoder) == ("images, 25 fps assumed", False, "pillow")
    if suffix != ".jpg":
        np.testing.assert_array_equal(only_frame(folder), as_array(painting(0)))


def test_a_folder_is_sampled_like_a_video(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", 30)
    (folder / "frames.json").write_text(json.dumps({"fps": 10}))
    whole = load_frames(str(folder), Sampling("uniform", 4))
    assert read_numbers(whole.pixels) == list(uniform_indices(30, 4)) == list(whole.indices)
    part = load_frames(folder, Sampling("uniform", 4), start=1.0, end=2.0)
    assert part.indices == (11, 13, 16, 18)
    assert read_numbers(part.pixels) == [11, 13, 16, 18]


def test_stated_times_are_in_the_facts(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", 3)
    (folder / "frames.json").write_text(json.dumps({"fps": 30000 / 1001}))
    with open_video(folder) as reader:
        assert (reader.info.codec, reader.info.variable_frame_rate) == ("images", False)
        assert reader.info.fps == pytest.approx(29.97, abs=1e-3)
    (folder / "frames.json").write_text(json.dumps({"seconds": [0.0, 0.033, 0.067]}))  # whole milliseconds
    with open_video(folder) as reader:
        assert (reader.info.codec, reader.info.variable_frame_rate) == ("images", False)
    (folder / "frames.json").write_text(json.dumps({"seconds": [3.0, 3.5, 5.0]}))
    with open_video(folder) as reader:
        assert reader.info.variable_frame_rate
        assert reader.frames_at([2, 1]).seconds.tolist() == [2.0, 0.5]
        assert reader.frames_at_seconds([0.4, 0.6]).indices == (0, 1)


def test_costs_are_counted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", 5)
    sizes = [path.stat().st_size for path in sorted(folder.iterdir())]
    with open_video(folder) as reader:
        assert (reader.info.size_bytes, reader.info.bytes_read, reader.info.packets_decoded) == (
            sum(sizes),
            sizes[0],
            0,
        )
        frames = reader.frames_at([4, 1, 4])
        assert (frames.bytes_read, frames.packets_decoded) == (sizes[1] + sizes[4], 2)


def test_every_image_is_a_keyframe(tmp_path: Path) -> None:
    with open_video(write_folder(tmp_path / "f", 5), decode=DecodeOptions(seek="keyframe")) as reader:
        assert reader.frames_at([3]).indices == (3,)


def test_the_first_image_is_read_when_the_folder_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"no picture at all")
    with pytest.raises(
        UnreadableVideo, match=r"f: 1\.jpg cannot be decoded \(cannot identify image file.*copy it anew"
    ):
        open_video(folder)


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", 4)
    painting(2, 24, 64).save(folder / "img_00003.png")
    with open_video(folder) as reader:
        assert read_numbers(reader.frames_at([0, 1, 3]).pixels) == [0, 1, 3]
        with pytest.raises(
            UnreadableVideo, match=r"img_00003\.png is 64 x 24 but the clip is 64 x 48; expected images"
        ):
            reader.frames_at([1, 2])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_orientation_of_a_camera_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    folder = tmp_path / "f"
    folder.mkdir()
    file = folder / f"1{suffix}"
    noise().save(file, exif=exif)
    with Image.open(file) as stored:
        upright = ImageOps.exif_transpose(stored)
        assert stored.size == (37, 23)
    np.testing.assert_array_equal(only_frame(folder), as_array(upright))
    with open_video(folder) as reader:
        info = reader.info
    assert (info.width, info.height) == upright.size
    # Undoing the rotation, after the mirroring that follows it, gives what is stored.
    mirrored = orientation in (2, 4, 5, 7)
    turned = ImageOps.mirror(upright) if mirrored else upright
    stored_again = turned.rotate(info.rotation_degrees, expand=True)
    with Image.open(file) as stored:
        np.testing.assert_array_equal(as_array(stored_again), as_array(stored))


def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 99
    noise().save(folder / "1.png", exif=exif)
    np.testing.assert_array_equal(only_frame(folder), as_array(noise()))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_pixels_of_other_kinds_become_rgb(tmp_path: Path, mode: str) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    image = noise().convert(mode)
    image.save(folder / "1.png")
    np.testing.assert_array_equal(only_frame(folder), as_array(image))


def test_what_is_no_picture_of_eight_bits(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    Image.fromarray(np.full((5, 7), 40_000, dtype=np.uint16)).save(folder / "1.png")
    with pytest.raises(UnreadableVideo, match=r"1\.png has pixels of the mode I;16; expected 8 bits a channel"):
        open_video(folder)


def test_an_animation_is_no_frame(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    painting(0).save(folder / "1.webp", save_all=True, append_images=[painting(1)], lossless=True)
    with pytest.raises(UnreadableVideo, match=r"1\.webp is an animation; expected one picture in each file"):
        open_video(folder)


def test_other_formats_are_not_tried(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    noise().save(folder / "1.jpg", format="BMP")
    with pytest.raises(UnreadableVideo, match=r"1\.jpg cannot be decoded"):
        open_video(folder)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["JPEG", "PNG", "WEBP"]), late=st.booleans())
def test_an_image_cut_short_is_an_error_and_never_grey(
    tmp_path_factory: pytest.TempPathFactory, share: float, kind: str, late: bool
) -> None:
    file = io.BytesIO()
    noise(61, 83).save(file, kind)
    whole = file.getvalue()
    left = len(whole) - 1 - int(share * 20) if late else int(share * len(whole))
    folder = tmp_path_factory.mktemp("cut")
    path = folder / {"JPEG": "1.jpg", "PNG": "1.png", "WEBP": "1.webp"}[kind]
    path.write_bytes(whole)
    expected = only_frame(folder)
    path.write_bytes(whole[:left])
    try:
        found = only_frame(folder)
    except UnreadableVideo:
        return
    np.testing.assert_array_equal(found, expected)


def test_a_jpeg_without_its_last_half_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for number in (1, 2):
        noise(230, 370, seed=number).save(folder / f"img_{number}.jpg")
    path = folder / "img_2.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        open_video(folder) as reader,
        pytest.raises(UnreadableVideo, match=r"f: img_2\.jpg cannot be decoded \(image file is truncated"),
    ):
        reader.frames_at([0, 1])


def test_hiding_damage_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "f", 2)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UsageError, match=r"LOAD_TRUNCATED_IMAGES is set, which hides damaged images; set it to False"):
        open_video(folder)


def test_limits_hold_before_memory_is_taken(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", 3)
    enough = DecodeOptions(limits=Limits(max_pixels=64 * 48, max_frames=3))
    assert open_video(folder, decode=enough).info.num_frames == 3
    with pytest.raises(
        UnreadableVideo, match=r"img_00001\.png is 64 x 48, above the limit of 3071 pixels; raise max_p"
    ):
        open_video(folder, decode=DecodeOptions(limits=Limits(max_pixels=64 * 48 - 1)))
    with pytest.raises(UnreadableVideo, match="more than 2 images; raise max_frames"):
        open_video(folder, decode=DecodeOptions(limits=Limits(max_frames=2)))
    # A header may claim any size; Pillow has a limit of its own, too.
    claims = bytearray((folder / "img_00002.png").read_bytes())
    claims[16:24] = (60_000).to_bytes(4, "big") * 2
    chunk = bytes(claims[12:29])
    claims[29:33] = zlib.crc32(chunk).to_bytes(4, "big")
    (folder / "img_00002.png").write_bytes(bytes(claims))
    with open_video(folder) as reader, pytest.raises(UnreadableVideo, match=r"img_00002\.png"):
        reader.frames_at([1])


def test_what_is_an_image_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / ".jpg").touch()
    assert is_image_folder(folder)
    assert is_image_folder(str(folder))
    for other in (tmp_path, tmp_path / "empty", folder / "img_00001.png", tmp_path / "absent", "a\0b", b"f", None, 3):
        assert not is_image_folder(other)


# Packed clips


def write_shard(path: Path, clips: dict[str, list[Image.Image]], **changes: object) -> Path:
    shard, records = b"", {}
    for key, images in clips.items():
        files = []
        for image in images:
            file = io.BytesIO()
            image.save(file, "JPEG", quality=95, subsampling="4:4:4")
            files.append(file.getvalue())
        facts = {"seconds": [0.25 + number for number in range(len(images))], "duration_seconds": float(len(images))}
        record = {**facts, "width": images[0].width, "height": images[0].height, **changes}
        members = clip_members(key, record, files)
        records[key] = record_range(members, len(shard))
        shard += members
    path.write_bytes(shard + shard_end(records))
    return path


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_shard(
        tmp_path / "p.tar", {"00000003": [painting(n) for n in range(8)], "00000004": [painting(n) for n in (90, 91)]}
    )


def test_a_packed_clip_is_a_video_of_its_frames(shard: Path) -> None:
    address = clip_address("00000003", str(shard))
    with open_video(address) as reader:
        frames = reader.frames_at(uniform_indices(reader.info.num_frames, 8))
        info = reader.info
    assert read_numbers(frames.pixels) == list(range(8))
    assert frames.seconds.tolist() == [0.25 + number for number in range(8)]
    assert (info.path, info.num_frames, info.width, info.height) == (address, 8, 64, 48)
    assert (info.duration_seconds, info.fps, info.variable_frame_rate) == (8.0, 1.0, False)
    assert (info.codec, info.decoder) == ("packed images", "pillow")
    assert read_numbers(load_frames(clip_address("00000004", str(shard)), Sampling("uniform", 2)).pixels) == [90, 91]


def test_more_frames_than_packed_repeat_and_fewer_are_chosen(shard: Path) -> None:
    address = clip_address("00000003", str(shard))
    assert read_numbers(load_frames(address, Sampling("uniform", 16)).pixels) == [k // 2 for k in range(16)]
    assert read_numbers(load_frames(address, Sampling("uniform", 4)).pixels) == [1, 3, 5, 7]


def test_times_are_those_of_the_video(shard: Path) -> None:
    address = clip_address("00000003", str(shard))
    assert load_frames(address, Sampling("uniform", 2), start=2.0, end=6.0).seconds.tolist() == [3.25, 5.25]
    with open_video(address) as reader:
        assert reader.frames_at_seconds([3.2, 3.25, 8.0]).indices == (2, 3, 7)


def test_reading_a_packed_clip_costs_its_images(shard: Path) -> None:
    with open_video(clip_address("00000003", str(shard))) as reader:
        ranges = reader._open_backend()._images.clip.ranges  # type: ignore[attr-defined]
        frames = reader.frames_at([6, 2])
        assert frames.bytes_read == sum(stop - start for start, stop in (ranges[2], ranges[6]))
        assert frames.packets_decoded == 2
        assert reader.info.size_bytes is not None
        assert sum(stop - start for start, stop in ranges) < reader.info.size_bytes < shard.stat().st_size


def test_a_packed_image_that_is_damaged_is_named(shard: Path) -> None:
    address = clip_address("00000003", str(shard))
    with open_video(address) as reader:
        start, stop = reader._open_backend()._images.clip.ranges[5]  # type: ignore[attr-defined]
    content = bytearray(shard.read_bytes())
    content[(start + stop) // 2] ^= 1
    shard.write_bytes(bytes(content))
    with open_video(address) as reader:
        assert read_numbers(reader.frames_at([4, 6]).pixels) == [4, 6]
        with pytest.raises(UnreadableVideo, match=r"00000003\.005\.jpg is damaged; pack it again"):
            reader.frames_at([4, 5])


def test_a_record_that_states_another_size(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "p.tar", {"k": [painting(0)]}, width=65)
    with (
        open_video(clip_address("k", str(path))) as reader,
        pytest.raises(UnreadableVideo, match=r"k\.000\.jpg is 64 x 48 but the clip is 65 x 48"),
    ):
        reader.frames_at([0])


def test_clips_that_cannot_be_had(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match=r"cannot read tar://9\.json::.*p\.tar: the shard holds no 9\.json"):
        open_video(clip_address("9", str(shard)))
    with pytest.raises(UnreadableVideo, match="no such file"):
        open_video(clip_address("9", str(tmp_path / "absent.tar")))
    with pytest.raises(UsageError, match=r"tar://x\.mp4::p\.tar is no packed clip; expected tar://KEY\.json::SHARD"):
        ImagesBackend.from_pack("tar://x.mp4::p.tar", EXACT)
    with pytest.raises(UnreadableVideo, match="above the limit of 7; raise max_frames"):
        open_video(clip_address("00000003", str(shard)), decode=DecodeOptions(limits=Limits(max_frames=7)))


def test_what_is_a_packed_clip() -> None:
    assert is_packed_clip("tar://k.json::p.tar")
    for other in ("tar://k.mp4::p.tar", "k.json", Path("tar://k.json::p.tar"), b"tar://k.json::p.tar", None):
        assert not is_packed_clip(other)


def test_closing_twice(shard: Path, tmp_path: Path) -> None:
    for backend in (
        ImagesBackend.from_pack(clip_address("00000003", str(shard)), EXACT),
        ImagesBackend.from_folder(write_folder(tmp_path / "f", 1), EXACT),
    ):
        backend.close()
        backend.close()
        with VideoReader(backend) as reader:
            assert reader.info.decoder == "pillow"
