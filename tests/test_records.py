"""The records: what they refuse, and that they do not change."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from fewframes import records
from fewframes.errors import UnknownName, UsageError
from fewframes.records import (
    BadVideoPolicy,
    Failure,
    Frames,
    Preprocess,
    Sampling,
    SamplingRule,
    Scores,
    VideoInfo,
    part_text,
)


@pytest.mark.parametrize("frames", [0, -3])
def test_sampling_needs_a_frame(frames: int) -> None:
    with pytest.raises(UsageError, match=rf"sampling\.num_frames is {frames}; expected at least 1"):
        Sampling("uniform", frames)


def test_only_official_sampling_has_a_rate() -> None:
    assert Sampling("official", 16, 1.6).frames_per_second == 1.6
    with pytest.raises(UsageError, match='frames_per_second belongs to rule "official", and to no other'):
        Sampling("uniform", 16, 1.6)
    with pytest.raises(UsageError, match='frames_per_second belongs to rule "official"'):
        Sampling("official", 16)


@pytest.mark.parametrize("rule", ["clip", "clip_linspace"])
def test_only_clips_have_a_stride(rule: SamplingRule) -> None:
    own_rate = Sampling(rule, 7, stride=2)
    assert (own_rate.stride, own_rate.stride_fps) == (2, None)
    assert Sampling(rule, 7, stride=2, stride_fps=12.5).stride_fps == 12.5
    for stride in (None, 0, -1, 2.5):
        with pytest.raises(UsageError, match=rf'stride is {stride}; rule "{rule}" needs a whole number of at least 1'):
            Sampling(rule, 7, stride=stride)  # type: ignore[arg-type]
    for rate in (0.0, -25.0, float("inf"), float("nan")):
        with pytest.raises(UsageError, match=rf"sampling\.stride_fps is {rate}; expected a number above 0, or None"):
            Sampling(rule, 7, stride=2, stride_fps=rate)
    with pytest.raises(UsageError, match='frames_per_second belongs to rule "official"'):
        Sampling(rule, 7, 1.6, stride=2)


@pytest.mark.parametrize("setting", [{"stride": 2}, {"stride_fps": 25.0}])
@pytest.mark.parametrize("rule", ["uniform", "random_in_segment", "segment_middle"])
def test_no_other_rule_has_a_stride(rule: SamplingRule, setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match='stride and stride_fps belong to "clip" and "clip_linspace" alone'):
        Sampling(rule, 7, **setting)


def test_a_rule_that_does_not_exist() -> None:
    with pytest.raises(UnknownName, match="unknown sampling rule 'clip_linspce'; did you mean 'clip_linspace'"):
        Sampling("clip_linspce", 7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop": (0, 7)}, r"preprocess\.crop is \(0, 7\); expected two sizes of at least 1 pixel"),
        ({"crop": (7, -1)}, r"preprocess\.crop is \(7, -1\)"),
        ({"resize_short": 12}, r"preprocess\.resize_short is 12 but the crop is \(11, 13\); the short side must be"),
        ({"std": (1.0, 0.0, 1.0)}, r"preprocess\.std is \(1\.0, 0\.0, 1\.0\); expected values above 0"),
        ({"std": (1.0, 1.0, -1.0)}, r"preprocess\.std"),
        ({"resize_to": (17, 19)}, "resize_short and resize_to; a frame is resized once: leave one out"),
        ({"resize_short": None, "resize_to": (10, 99)}, r"resize_to is \(10, 99\) but the crop is \(11, 13\); each"),
        ({"resize_short": None, "resize_to": (99, 12)}, r"preprocess\.resize_to is \(99, 12\)"),
        ({"interpolation": "bicubc"}, "unknown preprocess.interpolation 'bicubc'; did you mean 'bicubic'"),
    ],
)
def test_a_transform_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocess(**{"crop": (11, 13), "resize_short": 17, **arguments})


def test_transforms_at_their_limits() -> None:
    assert Preprocess((11, 13), 13).resize_short == 13
    assert Preprocess((11, 13), None).mean == (0.0, 0.0, 0.0)
    assert Preprocess((1, 1), 1).std == (1.0, 1.0, 1.0)
    assert Preprocess((11, 13), None, resize_to=(11, 13)).antialias


def test_records_stored_before_these_fields_existed() -> None:
    old = {"rule": "official", "num_frames": 8, "frames_per_second": 0.8}
    assert Sampling(**old) == Sampling("official", 8, 0.8, stride=None, stride_fps=None)  # type: ignore[arg-type]
    spec = {"crop": (11, 13), "resize_short": 17, "mean": (0.0,) * 3, "std": (1.0,) * 3, "channel_order": "bgr"}
    stored = Preprocess(**spec)  # type: ignore[arg-type]
    assert (stored.resize_to, stored.interpolation, stored.antialias) == (None, "bilinear", True)


@pytest.mark.parametrize(
    "name", sorted(set(records.__all__) - {"Interpolation", "OnBadVideo", "SamplingRule", "part_text"})
)
def test_records_are_frozen(name: str) -> None:
    kind = getattr(records, name)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert kind.__doc__ is not None
    for field in dataclasses.fields(kind):
        assert f"        {field.name}: " in kind.__doc__, f"{name}.{field.name} is not described"


def test_a_field_cannot_be_set() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sampling("uniform", 3).num_frames = 5  # type: ignore[misc]


def test_records_compare_by_value_but_frames_by_identity() -> None:
    assert Failure("a", "b") == Failure("a", "b")
    assert hash(Sampling("uniform", 3)) == hash(Sampling("uniform", 3))
    assert Scores(3, 1.0, 2.0, 3.0) != Scores(3, 1.0, 2.0, 4.0)
    info = VideoInfo("a", 3, 2.0, 1.5, 11, 13, "h264", False, 0)
    assert dataclasses.replace(info, path="a") == info
    pixels, seconds = torch.zeros(1, 3, 2, 5), torch.zeros(1)
    frames = Frames(pixels, seconds, (0,))
    assert frames == frames
    assert frames != Frames(pixels, seconds, (0,))


def test_bad_video_policies() -> None:
    assert BadVideoPolicy() == BadVideoPolicy("error", 0.01)
    for fraction in (-0.01, 1.01, float("nan")):
        with pytest.raises(UsageError, match=r"max_bad_fraction is .*; expected 0 to 1"):
            BadVideoPolicy("skip", fraction)


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (None, None, ""),
        (2.0, None, "from 2 s"),
        (None, 5.5, "up to 5.5 s"),
        (0.0, 1 / 3, "0 to 0.333333 s"),
        (3600.25, 3601.0, "3600.25 to 3601 s"),
    ],
)
def test_parts_in_words(start: float | None, end: float | None, text: str) -> None:
    assert part_text(start, end) == text
