"""A classifier and a list of labelled videos come in; accuracy over every listed video, and every failure, go out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from fewframes.data.bad_videos import BadVideos
from fewframes.data.loader import Shard
from fewframes.data.manifest import Manifest, Video
from fewframes.data.reading import Reading, read_frames, shown_name
from fewframes.errors import FewframesError, InvalidManifest, UnreadableVideo, UsageError
from fewframes.metrics import ClassificationMetrics, top_k
from fewframes.predict import Classifier
from fewframes.progress import track
from fewframes.records import BadVideoPolicy, DecodeOptions, EvaluationReport, Failure, ReadCost, VideoResult
from fewframes.video.transforms import preprocess
from fewframes.weights.checkpoint import CheckpointInfo

__all__ = ["evaluate"]

_COUNT_AS_WRONG = BadVideoPolicy("count-as-wrong")
_EXACT = DecodeOptions()
_ALONE = Shard()
_PACKAGES = {"pyav": "av"}
_Read = tuple[Tensor, Reading] | Failure


def evaluate(
    classifier: Classifier,
    manifest: Manifest,
    *,
    workers: int = 2,
    progress: bool = False,
    policy: BadVideoPolicy = _COUNT_AS_WRONG,
    decode: DecodeOptions = _EXACT,
    shard: Shard = _ALONE,
) -> EvaluationReport:
    """Classify every listed video once, or the listed part of it, and count.

    Whatever the policy, the denominator of `listed` is every listed video, and one that cannot be read counts as wrong
    there; it is left out in `decoded`, and never replaced. Each video goes through the network on its own, so its
    logits equal those of `Classifier.predict` bit for bit.

    Args:
        classifier: the model with its frames and transform.
        manifest: the videos; every label must be one of the model's.
        workers: threads that decode ahead; at most 2 * `workers` + 1 clips are in memory.
        progress: whether to show a bar.
        policy: whether to stop at a video that cannot be read, and how many are too many.
        decode: how to decode.
        shard: this process's share of the list, if several processes that torch.distributed joins evaluate it
            together: each classifies its share, and all of them return the report of the whole list, the same that one
            process makes but for seconds. An error in one of them is raised in all.

    Raises:
        InvalidManifest: a label is unknown to the model (before any work), or not one video could be read.
        UnreadableVideo: a video cannot be read, and the policy is "error".
        TooManyBadVideos: more videos cannot be read than the policy's cap allows.
        UsageError: the decode options do not fit together, or the network's answers are not finite.
    """
    began = time.perf_counter()
    info = classifier.info
    label_indices = manifest.indices_of(info.labels)
    places = range(shard.rank, len(manifest.videos), shard.world_size)
    answers = _answers(classifier, [manifest.videos[place] for place in places], decode, workers)
    shown = track(answers, "Evaluating", total=len(places), show=progress)
    if shard.world_size > 1:
        shown = _from_all(shown, places, BadVideos(policy, manifest), len(manifest.videos))
    tally = _Tally(info.labels, manifest, policy)
    with closing(answers):
        for video, label_index, answer in zip(manifest.videos, label_indices, shown, strict=True):
            tally.take(video, label_index, answer)
    return _report(classifier, manifest, tally, decode, time.perf_counter() - began)


@dataclass(frozen=True, eq=False)
class _Answer:
    """What became of one video.

    Attributes:
        logits_K: the network's answer; None if the video could not be read.
        failure: why not.
        wait_seconds: for its clip.
        cost: of reading it: seconds, bytes read, packets decoded.
        size_bytes: of the file, where known.
        decoder: which one read it.
        frame_indices: which frames were looked at.
    """

    logits_K: Tensor | None
    failure: Failure | None
    wait_seconds: float
    cost: tuple[float, int, int] = (0.0, 0, 0)
    size_bytes: int | None = None
    decoder: str = ""
    frame_indices: tuple[int, ...] = ()


def _answers(
    classifier: Classifier, videos: Sequence[Video], decode: DecodeOptions, workers: int
) -> Generator[_Answer]:
    """The answers for some videos, in their order."""
    with closing(_read_ahead(videos, classifier.info, decode, workers)) as clips:
        for read, waited in clips:
            if isinstance(read, Failure):
                yield _Answer(None, read, waited)
                continue
            clip_TCHW, reading = read
            yield _Answer(
                classifier.run(clip_TCHW)[0],
                None,
                waited,
                (reading.seconds, reading.bytes_read, reading.packets_decoded),
                reading.info.size_bytes,
                reading.info.decoder,
                reading.frames.indices,
            )


def _from_all(own: Iterable[_Answer], places: range, bad: BadVideos, count: int) -> list[_Answer]:
    """The answers of all processes in the order of the list; stops early if this one finds too many bad videos."""
    answers: list[_Answer] = []
    mine: list[_Answer] | FewframesError = answers
    try:
        for place, answer in zip(places, own, strict=True):
            if answer.failure is not None:
                bad.add(place, answer.failure)
            answers.append(answer)
    except FewframesError as error:  # for all of them: others would wait for this one's share for ever
        mine = error
    shares: list[Any] = [None] * places.step
    torch.distributed.all_gather_object(shares, mine)
    for share in shares:
        if isinstance(share, FewframesError):
            raise share
    return [shares[place % len(shares)][place // len(shares)] for place in range(count)]


def _report(
    classifier: Classifier, manifest: Manifest, tally: _Tally, decode: DecodeOptions, seconds: float
) -> EvaluationReport:
    info, metrics, failures = classifier.info, tally.metrics, tally.bad.failures
    if len(failures) == len(manifest.videos):
        raise InvalidManifest(
            f"{manifest.source}: not one of {len(manifest.videos)} listed videos could be read; "
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
        failures=failures,
        videos=tuple(tally.rows),
        protocol=_protocol(classifier, manifest, tally, decode),
        seconds=seconds,
        reading=tally.cost(),
    )


class _Tally:
    """What is known after each video: counts, rows, failures, and what reading took."""

    def __init__(self, labels: Sequence[str], manifest: Manifest, policy: BadVideoPolicy) -> None:
        self.labels = labels
        self.metrics, self.bad = ClassificationMetrics(len(labels)), BadVideos(policy, manifest)
        self.rows: list[VideoResult] = []
        self.decoders: set[str] = set()
        self.decode_seconds, self.wait_seconds = 0.0, 0.0
        self.bytes_read, self.packets_decoded = 0, 0
        self.size_bytes: int | None = 0

    def take(self, video: Video, label_index: int, answer: _Answer) -> None:
        self.wait_seconds += answer.wait_seconds
        if answer.logits_K is not None:
            self.count(video, label_index, answer.logits_K, answer)
        else:
            assert answer.failure is not None
            self.fail(video, label_index, answer.failure)

    def fail(self, video: Video, label_index: int, failure: Failure) -> None:
        self.bad.add(len(self.rows), failure)
        self.metrics.add_failures([label_index])
        self.rows.append(
            VideoResult(shown_name(video.path), video.label, (), (), failure.reason, (), video.start, video.end)
        )

    def count(self, video: Video, label_index: int, logits_K: Tensor, answer: _Answer) -> None:
        self.metrics.update(logits_K.unsqueeze(0), torch.tensor([label_index]))
        best, scores = top_k(logits_K, min(5, len(self.labels)))
        predicted = tuple(self.labels[index] for index in best)
        path, indices = shown_name(video.path), answer.frame_indices
        shares = tuple(scores.tolist())
        self.rows.append(VideoResult(path, video.label, predicted, shares, None, indices, video.start, video.end))
        self.decoders.add(answer.decoder)
        seconds, bytes_read, packets = answer.cost
        self.decode_seconds += seconds
        self.bytes_read += bytes_read
        self.packets_decoded += packets
        size = answer.size_bytes
        self.size_bytes = None if size is None or self.size_bytes is None else self.size_bytes + size

    def cost(self) -> ReadCost:
        return ReadCost(self.decode_seconds, self.wait_seconds, self.bytes_read, self.size_bytes, self.packets_decoded)


def _read_ahead(
    videos: Sequence[Video], info: CheckpointInfo, decode: DecodeOptions, workers: int
) -> Generator[tuple[_Read, float]]:
    """Clips in the list's order, decoded by threads at most a few videos ahead, and the seconds waited for each."""
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        waiting: deque[Future[_Read]] = deque()
        remaining = iter(videos)
        try:
            while True:
                while len(waiting) <= 2 * workers and (video := next(remaining, None)) is not None:
                    waiting.append(pool.submit(_read, video, info, decode))
                if not waiting:
                    return
                began = time.perf_counter()
                read = waiting.popleft().result()
                yield read, time.perf_counter() - began
        finally:
            for future in waiting:
                future.cancel()


def _read(video: Video, info: CheckpointInfo, decode: DecodeOptions) -> _Read:
    try:
        reading = read_frames(video.path, info.sampling, start=video.start, end=video.end, decode=decode)
    except UnreadableVideo as error:
        return Failure(shown_name(video.path), error.reason, video.start, video.end)
    except UsageError as error:
        if info.sampling.rule != "official":
            raise  # of the options, not of this video
        return Failure(shown_name(video.path), str(error), video.start, video.end)  # that rule refuses short videos
    return preprocess(reading.frames.pixels, info.preprocess), reading


def _protocol(classifier: Classifier, manifest: Manifest, tally: _Tally, decode: DecodeOptions) -> dict[str, object]:
    info, bad, spec = classifier.info, tally.bad, classifier.info.preprocess
    return {
        "manifest": manifest.source,
        "manifest_sha256": manifest.sha256,
        "splits": sorted({video.split for video in manifest.videos if video.split is not None}),
        "num_listed": len(manifest.videos),
        "num_parts": sum(video.start is not None or video.end is not None for video in manifest.videos),
        "num_failed": len(bad.found),
        "on_bad_video": bad.policy.on_bad_video,
        "max_bad_fraction": bad.policy.max_bad_fraction,
        "short_videos": "repeat frames, never dropped"
        if info.sampling.rule != "official"
        else "refused, count as wrong",
        "decoder": ", ".join(f"{_with_version(name)}, one thread a video" for name in sorted(tally.decoders)),
        "decode": asdict(decode),
        "sampling": asdict(info.sampling),
        "views": "1 clip x 1 crop",
        "preprocess": asdict(spec),
        "interpolation": f"{spec.interpolation}, {'' if spec.antialias else 'not '}antialiased, rounded to uint8",
        "precision": "float32",
        "device": str(classifier.device),
        "torch": torch.__version__,
        "weights": {key: value for key, value in info.provenance.items() if key in ("weights", "checkpoint")},
    }


def _with_version(decoder: str) -> str:
    try:
        return f"{decoder} {version(_PACKAGES.get(decoder, decoder))}"
    except PackageNotFoundError:
        return decoder
