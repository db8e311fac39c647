from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewframes.errors import UsageError
from fewframes.records import Preprocess
from fewframes.video.transforms import preprocess, resize_and_crop, resize_short_side, to_float


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


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
@given(st.integers(40, 90), st.integers(40, 90), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_frames_do_not_depend_on_the_batch_or_its_layout(
    height: int, width: int, count: int, squeeze: bool, seed: int
) -> None:
    pixels = noise(count, 3, height, width, seed=seed)
    spec = Preprocess(crop=(31, 29), resize_short=None if squeeze else 37)
    together = preprocess(pixels, spec)
    other_layout = preprocess(pixels.contiguous(memory_format=torch.channels_last), spec)
    assert torch.equal(together, other_layout)
    for k in range(count):
        assert torch.equal(together[k : k + 1], preprocess(pixels[k : k + 1], spec))


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    pixels, spec, threads = (
        noise(8, 3, 271, 367),
        Preprocess(crop=(224, 224), resize_short=256),
        torch.get_num_threads(),
    )
    results = []
    try:
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            results.append(preprocess(pixels, spec))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("bad", [torch.zeros(2, 3, 8, 8), noise(3, 8, 8), noise(2, 8, 8, 3)])
@pytest.mark.parametrize("call", [preprocess, resize_and_crop, to_float])
def test_other_tensors_are_refused(call: object, bad: torch.Tensor) -> None:
    assert callable(call)
    with pytest.raises(UsageError, match=r"expected \(T, 3, H, W\) uint8"):
        call(bad, Preprocess(crop=(4, 4), resize_short=4))


def test_a_short_side_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="short is 0"):
        resize_short_side(noise(1, 3, 8, 8), 0)
