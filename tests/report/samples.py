"""Evaluations and logs made up from a seed, with failures and awkward names, for the tests of the reports."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import torch

from fewframes.metrics import ClassificationMetrics, top_k
from fewframes.records import EvaluationReport, Failure, VideoResult
from fewframes.report.strips import FrameStrip

PROTOCOL: dict[str, object] = {
    "sampling": {"rule": "uniform", "num_frames": 16, "frames_per_second": None},
    "preprocess": {"crop": [224, 224], "resize_short": 256, "channel_order": "rgb"},
    "precision": "float32",
    "views": 1,
    "compiled": False,
}


def make_report(
    labels: Sequence[str],
    *,
    videos_per_class: int = 10,
    failures: Sequence[Failure] = (),
    skill: float = 2.5,
    seed: int = 0,
    flawless: bool = False,
) -> EvaluationReport:
    """An evaluation in which neighbouring classes are mixed up; failures replace videos of the first classes."""
    generator = torch.Generator().manual_seed(seed)
    num_classes = len(labels)
    metrics = ClassificationMetrics(num_classes)
    rows = []
    failed = list(failures)
    for index in range(num_classes * videos_per_class):
        label = index % num_classes
        if failed and index % 3 == 0:
            failure = failed.pop()
            metrics.add_failures([label])
            rows.append(VideoResult(failure.path, labels[label], (), (), error=failure.reason))
            continue
        logits = torch.randn(num_classes, generator=generator)
        logits[label] += 100.0 if flawless else skill * (0.4 + label % 5 / 3)
        logits[(label + 1) % num_classes] += 0.6 * skill
        metrics.update(logits[None], torch.tensor([label]))
        best, scores = top_k(logits, 5)
        names = tuple(labels[each] for each in best.tolist())
        rows.append(
            VideoResult(f"videos/{label:03d}/clip_{index:04d}.mp4", labels[label], names, tuple(scores.tolist()))
        )
    return EvaluationReport(
        model="stam_16",
        data="data/test.csv",
        labels=tuple(labels),
        listed=metrics.listed,
        decoded=metrics.decoded,
        confusion=metrics.confusion,
        class_totals=metrics.class_totals,
        class_correct=metrics.class_correct,
        failures=tuple(failures),
        videos=tuple(rows),
        protocol=PROTOCOL,
        seconds=41.7,
    )


def make_log(steps: int, *, seed: int = 0, final_top1: float = 80.0) -> list[dict[str, object]]:
    """A log of falling losses with one validation in every tenth of the run."""
    dice = random.Random(seed)
    log: list[dict[str, object]] = []
    for step in range(steps):
        epoch, done = step * 10 // steps, step / steps
        loss = 2.2 * math.exp(-3 * done) + 0.15 + dice.gauss(0, 0.08 * (1 - 0.5 * done))
        log.append({"step": step, "epoch": epoch, "loss": loss, "lr": 1e-3 * (1 - done), "samples_per_second": 80.0})
        if (step + 1) * 10 // steps > epoch:
            top1 = final_top1 * (1 - math.exp(-4 * (done + 0.1))) + dice.gauss(0, 1)
            log.append({"epoch": epoch, "validation": {"top1": top1, "top5": min(100.0, top1 + 15)}})
    return log


def make_strip(num_frames: int = 8, *, height: int = 90, width: int = 160, caption: str = "") -> FrameStrip:
    """A disc that crosses a shaded ground, and attention that peaks in the middle."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.zeros((num_frames, 3, height, width), dtype=np.uint8)
    for index in range(num_frames):
        pixels[index] = (np.stack([rows, (rows + columns) / 2, columns]) * 0.8 + 40).astype(np.uint8)
        disc = (rows - height / 2) ** 2 + (columns - width * (index + 0.5) / num_frames) ** 2 < (height / 6) ** 2
        pixels[index, :, disc] = (240, 200, 60)
    weights = np.exp(-(((np.arange(num_frames) - num_frames / 2) / 2.0) ** 2))
    seconds = 0.4 + 0.8 * torch.arange(num_frames, dtype=torch.float64)
    return FrameStrip(torch.from_numpy(pixels), seconds, torch.from_numpy(weights / weights.sum()), caption)
