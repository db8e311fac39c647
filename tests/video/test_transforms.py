from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fewframes.errors import UsageError
from fewframes.records import Interpolation, Preprocess
from fewframes.video.transforms import preprocess, resize, resize_and_crop, resize_short_side, to_float, with_crop

WAYS = [
    Preprocess((31, 29), short, resize_to=size, interpolation=interpolation, antialias=antialias)
    for short, size in ((37, None), (None, None), (None, (33, 47)))
    for interpolation in ("bilinear", "bicubic")
    for antialias in (True, False)
]
_KINETICS = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}
TORCHVISION = {
    "r3d_18": Preprocess((112, 112), None, resize_to=(128, 171), antialias=False, **_KINETICS),
    "s3d": Preprocess((224, 224), None, resize_to=(256, 256), antialias=False, **_KINETICS),
    "mvit_v2_s": Preprocess((224, 224), 256, (0.45,) * 3, (0.225,) * 3, antialias=False),
    "swin3d_t": Preprocess((224, 224), 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), antialias=False),
}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def golden_input(case: dict[str, object], arrays: dict[str, np.ndarray]) -> np.ndarray:
    kind = str(case["kind"])
    if not kind.startswith("formula"):
        return arrays[f"{case['name']}/input"]
    y, x, c = np.mgrid[0 : case["height"], 0 : case["width"], 0:3].astype(np.int64)
    stripes = ((((x * 73856093) ^ (y * 19349663) ^ (c * 83492791)) >> 5) & 3) * 40
    return (((3 * x + 5 * y + 83 * c) // 4 + stripes + int(kind.partition(":")[2])) & 255).astype(np.uint8)


def test_equals_the_release_in_every_golden_case(golden_dir: Path) -> None:
    folder = golden_dir / "stam_preprocess_a"
    arrays = dict(np.load(folder / "frames.npz"))
    cases = json.loads((folder / "cases.json").read_text())["cases"]
    assert len(cases) == 15
    for case in cases:
        image = golden_input(case, arrays)
        assert hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() == case["input_sha256"]
        short = case["resize"] if case["crop"] else None
        spec = Preprocess(crop=tuple(case["out_shape"][1:]), resize_short=short)
        got = preprocess(torch.from_numpy(image).permute(2, 0, 1)[None], spec)[0] * 255
        difference = (got - torch.from_numpy(arrays[f"{case['name']}/output_u8"])).abs()
        # Measured: at most 1 and 0.011; without antialiasing it would be up to 125.
        assert difference.max() < 1.01, case["name"]
        assert difference.mean() < 0.02, case["name"]


def test_scale_is_exact(golden_dir: Path) -> None:
    arrays = np.load(golden_dir / "stam_preprocess_a" / "frames.npz")
    u8 = torch.from_numpy(arrays["noise_85x64/output_u8"])[None]
    got = to_float(u8, Preprocess(crop=(32, 32), resize_short=36))
    assert torch.equal(got[0], torch.from_numpy(arrays["float_example/output"]))


@pytest.mark.parametrize(
    ("height", "width", "short", "expected"),
    [(240, 320, 256, (256, 341)), (320, 240, 256, (341, 256)), (255, 257, 36, (36, 36)), (7, 7, 5, (5, 5))],
)
def test_long_side_is_truncated(height: int, width: int, short: int, expected: tuple[int, int]) -> None:
    assert resize_short_side(noise(1, 3, height, width), short).shape[-2:] == expected


def test_frames_of_the_right_size_are_not_touched() -> None:
    pixels = noise(2, 3, 36, 50)
    assert resize_short_side(pixels, 36) is pixels
    cropped = resize_and_crop(pixels, Preprocess(crop=(32, 32), resize_short=36))
    assert torch.equal(cropped, pixels[:, :, 2:34, 9:41])


@pytest.mark.parametrize(("size", "offset"), [(41, 4), (43, 6), (42, 5), (45, 6), (32, 0)])
def test_crop_offset_rounds_half_to_even(size: int, offset: int) -> None:
    # (41 - 32) / 2 = 4.5 -> 4 and (43 - 32) / 2 = 5.5 -> 6
    pixels = noise(1, 3, 32, size)
    cropped = resize_and_crop(pixels, Preprocess(crop=(32, 32), resize_short=32))
    assert torch.equal(cropped, pixels[..., offset : offset + 32])


def test_without_a_short_side_the_frame_is_squeezed() -> None:
    pixels = torch.zeros(1, 3, 60, 90, dtype=torch.uint8)
    pixels[..., 45:] = 200
    squeezed = resize_and_crop(pixels, Preprocess(crop=(10, 20), resize_short=None))
    assert squeezed.shape == (1, 3, 10, 20)
    assert squeezed[..., :9].max() == 0
    assert squeezed[..., 11:].min() == 200


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize(("height", "width"), [(240, 320), (331, 187), (101, 131)])
def test_equals_torchvisions_presets_bit_for_bit(name: str, height: int, width: int) -> None:
    from torchvision.models import get_model_weights

    pixels = noise(3, 3, height, width)
    theirs_CTHW = get_model_weights(name).DEFAULT.transforms()(pixels)
    ours_TCHW = preprocess(pixels, TORCHVISION[name])
    assert torch.equal(ours_TCHW, theirs_CTHW.transpose(0, 1))
    twin = preprocess(pixels, dataclasses.replace(TORCHVISION[name], antialias=True))
    assert not torch.equal(ours_TCHW, twin)


@pytest.mark.usefixtures("one_thread")
def test_bicubic_equals_torchvisions_tensor_resize_where_it_is_not_antialiased() -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import VideoClassification

    pixels = noise(3, 3, 97, 61) // 255 * 255  # black and white overshoots most
    theirs = VideoClassification(crop_size=(43, 41), resize_size=(53,), interpolation=InterpolationMode.BICUBIC)
    spec = Preprocess((43, 41), 53, interpolation="bicubic", antialias=False, **_KINETICS)
    assert torch.equal(preprocess(pixels, spec), theirs(pixels).transpose(0, 1))


@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.95])
@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (360, 641)])
def test_bicubic_is_timms_evaluation_transform(crop_pct: float, height: int, width: int) -> None:
    from timm.data import create_transform

    theirs = create_transform(
        (3, 224, 224), interpolation="bicubic", crop_pct=crop_pct, mean=(0.0,) * 3, std=(1.0,) * 3
    )
    pixels = noise(1, 3, height, width)
    reference = theirs(Image.fromarray(pixels[0].permute(1, 2, 0).numpy()))
    spec = Preprocess((224, 224), int(224 / crop_pct), interpolation="bicubic")
    difference = (preprocess(pixels, spec)[0] - reference).abs() * 255
    # Measured: at most 2 in 1 of 150,528 values, 1 in the others, mean 0.010; bilinear would be off by up to 110.
    assert difference.max() < 2.01
    assert (difference > 1.01).float().mean() < 1e-4
    assert difference.mean() < 0.02
    twin = preprocess(pixels, dataclasses.replace(spec, interpolation="bilinear"))[0]
    assert ((twin - reference).abs() * 255).mean() > 3


def test_a_fixed_size_does_not_keep_the_aspect() -> None:
    pixels = torch.zeros(1, 3, 60, 90, dtype=torch.uint8)
    pixels[..., 45:] = 200
    spec = Preprocess(crop=(10, 12), resize_short=None, resize_to=(20, 22))
    # Columns 5 to 16 of 22, and the edge is at 11.
    row = resize_and_crop(pixels, spec)[0, 0, 0].tolist()
    assert row[:5] == [0] * 5
    assert row[7:] == [200] * 5
    assert torch.equal(resize_and_crop(noise(1, 3, 20, 22), spec), noise(1, 3, 20, 22)[..., 5:15, 5:17])


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_no_interpolation_leaves_the_range(interpolation: Interpolation, antialias: bool) -> None:
    """Bicubic overshoots at edges: without a limit, 255 and a bit would wrap to black."""
    pixels = torch.zeros(1, 3, 4, 16, dtype=torch.uint8)
    pixels[..., 8:] = 255
    row = resize(pixels, (4, 31), interpolation=interpolation, antialias=antialias)[0, 0, 0].tolist()
    assert row == sorted(row)
    assert (row[0], row[-1]) == (0, 255)


def test_halving_by_hand() -> None:
    pixels = torch.tensor([0, 40, 80, 121], dtype=torch.uint8).expand(1, 3, 4, 4)
    # Not antialiased: the middle between the two pixels on either side of each centre.
    row = resize(pixels, (2, 2), antialias=False)[0, 0, 0].tolist()
    assert row == [20, 100], "(0 + 40) / 2 and (80 + 121) / 2, halves to even"
    # Antialiased: a triangle over all pixels within two, weights 3, 3, 1 of 7 where the frame ends.
    row = resize(pixels, (2, 2))[0, 0, 0].tolist()
    assert row == [round((3 * 0 + 3 * 40 + 80) / 7), round((40 + 3 * 80 + 3 * 121) / 7)]


@pytest.mark.parametrize(
    ("spec", "crop", "short", "size"),
    [
        (Preprocess((224, 224), 256), (112, 112), 128, None),
        (Preprocess((224, 224), 256), (97, 97), 110, None),  # int(97 / 0.875) = int(110.86)
        (Preprocess((224, 224), 256), (112, 224), 256, None),
        (Preprocess((224, 224), 224), (97, 61), 97, None),
        (Preprocess((112, 112), None, resize_to=(128, 171)), (224, 224), None, (256, 342)),
        (Preprocess((112, 112), None, resize_to=(128, 171)), (56, 57), None, (64, 87)),
        (Preprocess((112, 112), None), (31, 37), None, None),
    ],
)
def test_another_crop_by_hand(
    spec: Preprocess, crop: tuple[int, int], short: int | None, size: tuple[int, int] | None
) -> None:
    scaled = with_crop(spec, crop)
    assert (scaled.crop, scaled.resize_short, scaled.resize_to) == (crop, short, size)
    assert with_crop(spec, spec.crop) == spec


@given(st.integers(1, 999), st.integers(1, 999), st.integers(0, 300), st.integers(1, 999), st.integers(1, 999))
def test_another_crop_always_fits(height: int, width: int, more: int, to_height: int, to_width: int) -> None:
    kept = {"mean": (0.1, 0.2, 0.3), "channel_order": "bgr", "interpolation": "bicubic", "antialias": False}
    for size in (
        {"resize_short": max(height, width) + more},
        {"resize_short": None, "resize_to": (height + more, width)},
    ):
        spec = Preprocess((height, width), **size, **kept)  # type: ignore[arg-type]
        scaled = with_crop(spec, (to_height, to_width))  # the record itself checks that the crop fits
        assert {name: getattr(scaled, name) for name in kept} == kept


def test_another_crop_for_stam_is_the_releases() -> None:
    for side in range(16, 700):
        assert with_crop(Preprocess((224, 224), 256), (side, side)).resize_short == int(side / 0.875)


def test_mean_std_and_channel_order_by_hand() -> None:
    pixels = torch.tensor([51, 102, 204], dtype=torch.uint8).view(1, 3, 1, 1)  # 0.2, 0.4, 0.8
    spec = {"crop": (1, 1), "resize_short": None, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 0.125)}
    rgb = to_float(pixels, Preprocess(**spec)).flatten()
    assert rgb.tolist() == pytest.approx([0.2, 0.8, 4.0], rel=1e-6)
    bgr = to_float(pixels, Preprocess(**spec, channel_order="bgr")).flatten()
    assert torch.equal(bgr, rgb.flip(0))


def test_output_is_float32_contiguous_and_input_is_kept() -> None:
    pixels = noise(2, 3, 37, 53).contiguous(memory_format=torch.channels_last)
    before = pixels.clone()
    clip = preprocess(pixels, Preprocess(crop=(17, 19), resize_short=23, mean=(0.5,) * 3, std=(0.5,) * 3))
    assert clip.dtype == torch.float32
    assert clip.shape == (2, 3, 17, 19)
    assert clip.is_contiguous()
    assert torch.equal(pixels, before)


@settings(deadline=None, max_examples=25)
@given(st.integers(40, 90), st.integers(40, 90), st.integers(1, 5), st.sampled_from(WAYS), st.integers(0, 99))
def test_frames_do_not_depend_on_the_batch_or_its_layout(
    height: int, width: int, count: int, spec: Preprocess, seed: int
) -> None:
    pixels = noise(count, 3, height, width, seed=seed)
    together = preprocess(pixels, spec)
    other_layout = preprocess(pixels.contiguous(memory_format=torch.channels_last), spec)
    assert torch.equal(together, other_layout)
    for k in range(count):
        assert torch.equal(together[k : k + 1], preprocess(pixels[k : k + 1], spec))


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_result_does_not_depend_on_the_number_of_threads(interpolation: Interpolation, antialias: bool) -> None:
    pixels, threads = noise(8, 3, 271, 367), torch.get_num_threads()
    spec = Preprocess(crop=(224, 224), resize_short=256, interpolation=interpolation, antialias=antialias)
    results = []
    try:
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            results.append(preprocess(pixels, spec))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        if antialias:
            assert torch.equal(results[0], other)
        else:  # torch multiplies and adds in one rounding or in two: measured, 3 to 12 of a million values
            steps = ((results[0] - other).abs() * 255).round()
            assert steps.max() <= 1
            assert steps.mean() < 1e-4


@pytest.mark.parametrize("bad", [torch.zeros(2, 3, 8, 8), noise(3, 8, 8), noise(2, 8, 8, 3)])
@pytest.mark.parametrize(
    "call", [preprocess, resize_and_crop, to_float, lambda pixels, spec: resize(pixels, spec.crop)]
)
def test_other_tensors_are_refused(call: object, bad: torch.Tensor) -> None:
    assert callable(call)
    with pytest.raises(UsageError, match=r"expected \(T, 3, H, W\) uint8"):
        call(bad, Preprocess(crop=(4, 4), resize_short=4))


def test_a_short_side_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="short is 0"):
        resize_short_side(noise(1, 3, 8, 8), 0)
