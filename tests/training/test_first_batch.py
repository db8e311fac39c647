"""first_batch.png: what the network sees first, written once, before it learns anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fewframes.training.setup as setup
from fewframes.data.dataset import TrainingClips, View
from fewframes.data.loader import load_batches
from fewframes.data.manifest import Video
from fewframes.records import Preprocess, Sampling
from fewframes.report.contact_sheet import draw_contact_sheet
from fewframes.training.first_batch import contact_sheet_of, write_first_batch
from fewframes.training.loop import train
from fewframes.video.augment import Augment
from tests.helpers.tiny import tiny_config


def clips_of(paths: list[Path], augment: Augment, mirrored: tuple[int | None, ...] = ()) -> TrainingClips:
    view = View(Sampling("random_in_segment", 3), Preprocess((16, 16), 16), augment, mirrored=mirrored)
    return TrainingClips([Video(path, ("a",)) for path in paths], [k % 2 for k in range(len(paths))], view, seed=4)


def test_the_sheet_shows_the_first_batch(tiny_videos: Path) -> None:
    paths = sorted(tiny_videos.parent.rglob("*.mp4"))[:7]
    clips = clips_of(paths, Augment(flip_probability=0.5, cutout=0.5, colour_jitter=0.8), mirrored=(1, 0))
    pixels, titles = contact_sheet_of(clips, ("left", "right"), 5)
    batch = next(load_batches(clips, epoch=0, batch_size=5, workers=0))
    assert torch.equal(torch.stack(pixels), batch.clips)
    assert titles == [("left", "right")[label] for label in batch.labels]


def test_bad_videos_are_left_out(tiny_videos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    good = sorted(tiny_videos.parent.rglob("*.mp4"))[0]
    pixels, titles = contact_sheet_of(clips_of([bad, good, bad], Augment()), ("a", "b"), 3)
    assert (len(pixels), titles) == (1, ["b"])
    assert write_first_batch(clips_of([bad, bad], Augment()), ("a", "b"), tmp_path) is None
    assert not (tmp_path / "first_batch.png").exists()


def test_a_run_begins_with_it_and_a_resumed_one_leaves_it(tiny_videos: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", augment={"cutout": 0.5}, optim={"epochs": 1})
    run, _ = setup.start(config, resume=False, show=False)
    path = tmp_path / "run" / "first_batch.png"
    with Image.open(path) as sheet:
        pixels, titles = contact_sheet_of(run.clips, run.data.labels)
        assert np.array_equal(np.asarray(sheet), np.asarray(draw_contact_sheet(pixels, titles)))
    assert len(pixels) == 8
    train(config, resume=True, show=False)
    path.unlink()
    train(config, resume=True, show=False)
    assert not path.exists()


def test_settings_that_do_not_fit_the_model_leave_no_folder(tiny_videos: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", augment={"min_zoom": 0.5})
    with pytest.raises(setup.UsageError, match=r"may make \d+ of \d+ pixels, less than the crop of 16"):
        setup.start(config, resume=False, show=False)
    assert not (tmp_path / "run").exists()


def test_settings_reach_the_clips(tiny_videos: Path) -> None:
    settings = {
        "short_side": (20, 40),
        "inverse_zoom": True,
        "scale_jitter": (0.9, 1.33),
        "flip_probability": 0.5,
        "flip_pairs": True,
        "cutout": 0.25,
        "policy": "randaugment",
        "randaugment_layers": 3,
        "randaugment_magnitude": 7,
    }
    config = tiny_config(tiny_videos, "run", augment=settings)
    data = setup.read_data(config)
    info = setup.build(config, data)[1]
    info = replace(info, preprocess=Preprocess((16, 16), 18))
    view = setup.training_view(config, data.labels, info)
    chosen = view.augment
    assert (chosen.min_zoom, chosen.max_zoom) == (20 / 18, 40 / 18)
    assert (chosen.inverse_zoom, chosen.scale_jitter, chosen.flip_probability) == (True, (0.9, 1.33), 0.5)
    assert (chosen.cutout, chosen.colour_jitter, chosen.colour_drop) == (0.25, 0.0, 0.0)
    assert (chosen.policy.name, chosen.policy.layers, chosen.policy.magnitude) == ("randaugment", 3, 7)
    assert data.labels == ("fall", "move_left", "move_right", "rise")
    assert view.mirrored == (0, 2, 1, 3)
    colours = tiny_config(tiny_videos, "run", augment={"colour_jitter": 0.8, "colour_drop": 0.1})
    view = setup.training_view(colours, data.labels, info)
    assert view.augment == Augment(colour_jitter=0.8, colour_drop=0.1)
    assert view.mirrored == ()


@pytest.mark.parametrize(("pairs", "told"), [(True, "2 classes get the label"), (False, "clips are mirrored and keep")])
def test_mirroring_classes_that_name_a_side_is_told(tiny_videos: Path, tmp_path: Path, pairs: bool, told: str) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", augment={"flip_probability": 0.5, "flip_pairs": pairs})
    run, _ = setup.start(config, resume=False, show=False)
    assert any(told in note for note in run.notes)
