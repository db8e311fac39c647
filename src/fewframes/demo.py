"""The demo: a folder comes in; videos, two trained models, a report and the figures go out."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fewframes.data.manifest import Manifest
from fewframes.data.manifest_io import read_manifest
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.recipes import RECIPES
from fewframes.records import EvaluationReport, Prediction
from fewframes.report.logs import read_training_log
from fewframes.report.pages import comparison_page
from fewframes.report.serial import write_atomically, write_json
from fewframes.report.strips import FrameStrip
from fewframes.training.loop import train
from fewframes.video.reader import open_video
from fewframes.video.synthetic import synthesize

__all__ = ["DemoResult", "run_demo"]

_NAMES = {"stam": "STAM", "mean": "mean pooling"}


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        stam_top1: of the model with the temporal transformer, percent of all unseen videos.
        mean_top1: of the same encoder with mean pooling.
        num_videos: unseen videos that both were evaluated on.
        seconds: wall time of everything.
        prediction: what STAM says of one unseen video, with the attention to each frame.
        report: the page.
    """

    stam_top1: float
    mean_top1: float
    num_videos: int
    seconds: float
    prediction: Prediction
    report: Path


def run_demo(
    folder: str | Path,
    *,
    num_videos: int = 1200,
    num_test_videos: int = 240,
    epochs: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> DemoResult:
    """Write videos, train STAM and its mean-pooling twin on the same budget, evaluate both on unseen videos, report.

    This is the paper's Table 2 in miniature: the classes come in pairs that are each other played backwards.

    Args:
        folder: gets videos/, stam/, mean/ and report.html; an interrupted demo goes on where it stopped.
        num_videos: to train on.
        num_test_videos: unseen ones.
        epochs: of both models; None takes the recipes' own.
        seed: everything random follows from it.
        say: gets a line of text at each stage.
    """
    start = time.perf_counter()
    folder = Path(folder)
    say(f"1/4  writing {num_videos} + {num_test_videos} videos to {folder / 'videos'}")
    listed = synthesize(
        folder / "videos",
        num_videos=num_videos,
        num_test_videos=num_test_videos,
        seed=seed,
        workers=os.cpu_count() or 1,
        progress=True,
    )
    unseen = read_manifest(listed).only("test")
    reports: dict[str, EvaluationReport] = {}
    for number, (key, name) in enumerate(_NAMES.items(), start=2):
        say(f"{number}/4  training {name}, then evaluating it on {num_test_videos} unseen videos")
        reports[name] = _train_and_evaluate(key, folder, listed, unseen, epochs=epochs, seed=seed)
        say(f"     {name}: top-1 {reports[name].listed.top1:.1f} % of {reports[name].listed.num_videos} videos")
    say("4/4  classifying one unseen video and writing the report")
    prediction, strip = _classify_one(folder, reports["STAM"])
    logs = {name: read_training_log(folder / key / "log.jsonl") for key, name in _NAMES.items()}
    page = comparison_page(
        "STAM against mean pooling",
        "Both models have the same frame encoder, saw the same videos and trained for the same number of steps. The "
        "classes come in pairs that are each other played backwards, so an average over frames cannot tell the two "
        "members of a pair apart, however well it sees what moves; a transformer over the frames can. This is the "
        "comparison of the paper's Table 2, in miniature.",
        reports=reports,
        logs=logs,
        strips=[strip],
    )
    return DemoResult(
        stam_top1=reports["STAM"].listed.top1,
        mean_top1=reports["mean pooling"].listed.top1,
        num_videos=len(unseen.videos),
        seconds=time.perf_counter() - start,
        prediction=prediction,
        report=write_atomically(folder / "report.html", page),
    )


def _train_and_evaluate(
    key: str, folder: Path, listed: Path, unseen: Manifest, *, epochs: int | None, seed: int
) -> EvaluationReport:
    config = RECIPES[f"demo-{key}"]()
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, source=str(listed)),
        optim=dataclasses.replace(config.optim, epochs=epochs or config.optim.epochs),
        output=str(folder / key),
        seed=seed,
    )
    result = train(config, resume=True)
    report = evaluate(Classifier.load(result.best), unseen, progress=True)
    write_json(folder / key / "report.json", report)
    return report


def _classify_one(folder: Path, report: EvaluationReport) -> tuple[Prediction, FrameStrip]:
    """Classify the first unseen video that was read, and draw what the model looked at."""
    video = next(row for row in report.videos if row.error is None)
    prediction = Classifier.load(folder / "stam" / "best").predict(video.path, attention=True)
    with open_video(video.path) as reader:
        frames = reader.frames_at(prediction.frame_indices)
    caption = (
        f"{Path(video.path).name}: STAM says {prediction.labels[0]} ({prediction.scores[0]:.0%}). "
        "Border and bar show how much of the temporal class token's attention each frame got in the last layer."
    )
    return prediction, FrameStrip(frames.pixels, frames.seconds, prediction.frame_attention, caption)
