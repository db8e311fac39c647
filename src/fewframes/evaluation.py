"""A classifier and a list of labelled videos come in; accuracy over every listed video, and every failure, go out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

import av
import torch
from torch import Tensor

from fewframes.data.manifest import Manifest, Video
from fewframes.errors import FewframesError, InvalidManifest, UnreadableVideo
from fewframes.metrics import ClassificationMetrics, top_k
from fewframes.predict import Classifier
from fewframes.progress import track
from fewframes.records import EvaluationReport, Failure, VideoResult
from fewframes.video.clip import load_clip
from fewframes.weights.checkpoint import CheckpointInfo

__all__ = ["evaluate"]

_Read = tuple[Tensor, tuple[int, ...]] | Failure


def evaluate(
    classifier: Classifier, manifest: Manifest, *, workers: int = 2, progress: bool = False
) -> EvaluationReport:
    """Classify every listed video once and count.

    A video that cannot be read counts as wrong in `listed` and is left out in `decoded`; it is never replaced. Each
    video goes through the network on its own, so its logits equal those of `Classifier.predict` bit for bit.

    Args:
        classifier: the model with its frames and transform.
        manifest: the videos; every label must be one of the model's.
        workers: threads that decode ahead.
        progress: whether to show a bar.

    Raises:
        InvalidManifest: a label is unknown to the model (before any work), or not one video could be read.
    """
    start = time.perf_counter()
    info = classifier.info
    label_indices = manifest.indices_of(info.labels)
    metrics = ClassificationMetrics(len(info.labels))
    rows: list[VideoResult] = []
    failures: list[Failure] = []
    clips = _read_ahead(manifest.videos, info, workers)
    shown = track(clips, "Evaluating", total=len(manifest.videos), show=progress)
    for video, label_index, read in zip(manifest.videos, label_indices, shown, strict=True):
        if isinstance(read, Failure):
            metrics.add_failures([label_index])
            failures.append(read)
            rows.append(VideoResult(str(video.path), video.label, (), (), error=read.reason))
            continue
        clip_TCHW, frame_indices = read
        logits_K, _ = classifier.run(clip_TCHW)
        metrics.update(logits_K.unsqueeze(0), torch.tensor([label_index]))
        best, scores = top_k(logits_K, min(5, len(info.labels)))
        predicted = tuple(info.labels[index] for index in best)
        rows.append(VideoResult(str(video.path), video.label, predicted, tuple(scores), None, frame_indices))
    if len(failures) == len(rows):
        raise InvalidManifest(
            f"{manifest.source}: not one of {len(rows)} listed videos could be read; "
            f"first: {failures[0].path}: {failures[0].reason}"
        )
    return EvaluationReport(
        model=str(info.provenance.get("checkpoint", info.name)),
        data=manifest.source,
        labels=info.labels,
        listed=metrics.listed,
        decoded=metrics.decoded,
        confusion=metrics.confusion,
        class_totals=metrics.class_totals,
        class_correct=metrics.class_correct,
        failures=tuple(failures),
        videos=tuple(rows),
        protocol=_protocol(classifier, manifest, len(failures)),
        seconds=time.perf_counter() - start,
    )


def _read_ahead(videos: Sequence[Video], info: CheckpointInfo, workers: int) -> Iterator[_Read]:
    """Clips in the list's order, decoded by threads at most a few videos ahead."""
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        waiting: deque[Future[_Read]] = deque()
        remaining = iter(videos)
        try:
            for video in remaining:
                waiting.append(pool.submit(_read, video, info))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _read(video: Video, info: CheckpointInfo) -> _Read:
    try:
        clip_TCHW, frames = load_clip(video.path, info.sampling, info.preprocess)
    except UnreadableVideo as error:
        return Failure(error.path, error.reason)
    except FewframesError as error:  # the "official" rule refuses short videos
        return Failure(str(video.path), str(error))
    return clip_TCHW, frames.indices


def _protocol(classifier: Classifier, manifest: Manifest, num_failed: int) -> dict[str, object]:
    info = classifier.info
    return {
        "manifest": manifest.source,
        "manifest_sha256": manifest.sha256,
        "splits": sorted({video.split for video in manifest.videos if video.split is not None}),
        "num_listed": len(manifest.videos),
        "num_failed": num_failed,
        "short_videos": "repeat frames, never dropped"
        if info.sampling.rule != "official"
        else "refused, count as wrong",
        "decoder": f"PyAV {av.__version__}, one thread a video",
        "sampling": asdict(info.sampling),
        "views": "1 clip x 1 crop",
        "preprocess": asdict(info.preprocess),
        "interpolation": "bilinear, antialiased, rounded to uint8",
        "precision": "float32",
        "device": str(classifier.device),
        "torch": torch.__version__,
        "weights": {key: value for key, value in info.provenance.items() if key in ("weights", "checkpoint")},
    }
