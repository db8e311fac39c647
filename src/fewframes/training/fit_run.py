"""A plan comes in; it is checked, carried out and evaluated, and a checkpoint and its accuracy go out."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.records import EvaluationReport, Failure
from fewframes.report.serial import flatten, read_report, write_atomically, write_json
from fewframes.report.text import plural
from fewframes.training.adapter import clip_forward, train_adapter
from fewframes.training.embeddings import digest_of, tensors_sha256, video_identity
from fewframes.training.fit import Mode
from fewframes.training.fit_checks import (
    class_lines,
    class_warnings,
    initial_loss,
    initial_loss_warning,
    overfit_line,
    overfit_one_batch,
    overlap_warnings,
)
from fewframes.training.fit_probe import encoding_line, open_cache, run_probe
from fewframes.training.fit_start import FitPlan
from fewframes.training.fit_time import Outcome, draw_sample, duration_text, run_seconds, time_steps
from fewframes.training.loop import train
from fewframes.training.lora import add_low_rank_
from fewframes.training.optim import peak_learning_rate
from fewframes.training.setup import training_clips
from fewframes.training.state import config_as_dict
from fewframes.weights.checkpoint import load_checkpoint

__all__ = ["OVERFIT_STEPS", "FitResult", "look", "rehearse", "run_fit"]

OVERFIT_STEPS = 200
_RECORD, _REPORT = "fit.json", "report.json"
_TRIED_CLIPS = 16
# What may differ when a run is taken up again, since no number depends on it; as in `fewframes.training.state`.
_FREE = (
    "train.output",
    "train.device",
    "train.data.workers",
    "train.data.prefetch",
    "train.data.on_bad_video",
    "train.data.max_bad_fraction",
    "train.optim.accumulate",
)


@dataclass(frozen=True)
class FitResult:
    """What a run left behind.

    Attributes:
        best: the checkpoint.
        mode: how it was trained.
        reasons: why so, a sentence each.
        top1: accuracy of `best` over every listed validation video in percent, by `evaluate`; None without validation.
        mean_class_accuracy: of the same evaluation.
        num_val: those videos.
        num_train: videos trained on.
        num_parameters: of the network.
        num_trained_parameters: that were trained; of adapters, before they were merged.
        num_skipped: clips (of a probe: videos) left out because they could not be read.
        bad_videos: those videos, each once, and those of the evaluation.
        warnings: what looked wrong, a sentence each.
        report: the evaluation's report.json; None without validation.
        seconds: wall time of this call.
    """

    best: Path
    mode: Mode
    reasons: tuple[str, ...]
    top1: float | None
    mean_class_accuracy: float | None
    num_val: int
    num_train: int
    num_parameters: int
    num_trained_parameters: int
    num_skipped: int
    bad_videos: tuple[Failure, ...]
    warnings: tuple[str, ...]
    report: Path | None
    seconds: float


def look(plan: FitPlan) -> tuple[list[str], list[str]]:
    """What is known before anything is trained: lines that say so, and warnings."""
    optim, data = plan.config.optim, plan.data
    lines = [*class_lines(data), *plan.choice.reasons, *_told_by_training(plan)]
    steps = -(-len(data.train.videos) // optim.batch_size)
    lines.append(
        f"{plural(optim.epochs, 'epoch')} of {plural(steps, 'step')}, {plural(optim.batch_size, 'clip')} a step, "
        f"peak learning rate {peak_learning_rate(optim):.3g}, on {plan.device.type}"
    )
    return lines, [*class_warnings(data), *overlap_warnings(data.train, data.val)]


def rehearse(plan: FitPlan, *, overfit_steps: int = 0) -> tuple[list[str], list[str]]:
    """Try some clips and steps: how long the run will take and how the loss begins; and warnings."""
    if plan.choice.mode == "probe":
        embedder, cache = open_cache(plan)
        later = ["one batch by heart: not tried, since it needs the embeddings"] if overfit_steps else []
        return [encoding_line(plan, embedder, cache), *later], []
    config, data = plan.config, plan.data
    without_cache = replace(config, data=replace(config.data, cache_frames=0))
    clips = training_clips(without_cache, data, plan.info, show=False)
    sample = draw_sample(clips, min(_TRIED_CLIPS, config.optim.batch_size))
    if sample.labels_B.shape[0] == 0:
        return [], ["none of the first videos could be read, so nothing was measured"]
    model = copy.deepcopy(plan.model).to(plan.device)
    if plan.choice.mode == "adapter":
        add_low_rank_(model, plan.request.rank, torch.Generator().manual_seed(config.seed))
        model.to(plan.device)

    def forward_of(network: nn.Module) -> Callable[[Tensor], Tensor]:
        return clip_forward(network, plan.info.preprocess, precision=config.precision)

    part = config.optim.batch_size // config.optim.accumulate
    step = time_steps(model, forward_of, sample, part)
    seconds = run_seconds(
        step,
        num_train=len(data.train.videos),
        num_val=0 if data.val is None else len(data.val.videos),
        epochs=config.optim.epochs,
        workers=config.data.workers,
        decodes=1 if config.data.cache_frames else config.optim.epochs,
    )
    lines = [
        f"the run takes about {duration_text(seconds)} on this machine (measured: {step.train_seconds:.2g} s to "
        f"train on a clip, {step.decode_seconds:.2g} s to decode it)"
    ]
    pixels, labels_B = sample.pixels_BTCHW.to(plan.device), sample.labels_B.to(plan.device)
    model.eval()
    with torch.no_grad():
        logits = [forward_of(model)(pixels[begin : begin + part]) for begin in range(0, len(labels_B), part)]
    loss, warnings = initial_loss(torch.cat(logits), labels_B), []
    lines.append(f"loss before training: {loss:.2f}")
    if plan.head_is_new and (warning := initial_loss_warning(loss, len(data.labels))):
        warnings.append(warning)
    if overfit_steps:
        found = overfit_one_batch(model, forward_of, pixels, labels_B, optim=config.optim, steps=overfit_steps)
        (lines if found.learnt else warnings).append(overfit_line(found))
    return lines, warnings


def run_fit(plan: FitPlan, *, overfit_steps: int = 0, say: Callable[[str], None], show: bool = True) -> FitResult:
    """Carry out a plan: check, train, evaluate.

    The same command goes on with what was interrupted: kept embeddings, finished epochs. A run that is finished and
    whose videos have not changed is evaluated once.

    Args:
        plan: what to do.
        overfit_steps: learn one batch by heart first, in at most so many steps; 0 does not.
        say: gets lines of text.
        show: progress bars and the log on standard error.

    Raises:
        UsageError: the folder holds another run.
        UnreadableVideo, TooManyBadVideos, WorkerDied, TrainingFailed: as in `fewframes.training.loop.train`.
    """
    began = time.perf_counter()
    record = _take_folder(plan)
    lines, warnings = look(plan)
    shown_later = _told_by_training(plan) if plan.choice.mode == "full" and show else []
    _say(say, [text for text in lines if text not in shown_later], warnings)
    outcome = _train(plan, overfit_steps=overfit_steps, say=say, show=show)
    report = _evaluate(plan, record, show=show)
    warnings += outcome.warnings
    if report is not None and outcome.top1 is not None:
        apart = abs(report.listed.top1 - outcome.top1)
        if apart > 100.1 / report.listed.num_videos:  # the last bits may decide a tie
            warnings.append(f"evaluation found top-1 {report.listed.top1:.2f} %, training {outcome.top1:.2f} %")
            say(f"warning: {warnings[-1]}; this should not be, please report it")
    failures = () if report is None else report.failures
    return FitResult(
        best=plan.output / "best",
        mode=plan.choice.mode,
        reasons=plan.choice.reasons,
        top1=None if report is None else report.listed.top1,
        mean_class_accuracy=None if report is None else report.listed.mean_class_accuracy,
        num_val=0 if report is None else report.listed.num_videos,
        num_train=len(plan.data.train.videos),
        num_parameters=sum(parameter.numel() for parameter in load_checkpoint(plan.output / "best")[0].parameters()),
        num_trained_parameters=outcome.num_trained,
        num_skipped=outcome.num_skipped,
        bad_videos=(*outcome.bad_videos, *failures),
        warnings=tuple(warnings),
        report=None if report is None else plan.output / _REPORT,
        seconds=time.perf_counter() - began,
    )


def _told_by_training(plan: FitPlan) -> list[str]:
    """What `train` says by itself."""
    report = [] if plan.report is None else [plan.report.summary()]
    return [*report, *(f"note: {note}" for note in plan.data.notes)]


def _say(say: Callable[[str], None], lines: Sequence[str], warnings: Sequence[str]) -> None:
    for text in (*lines, *(f"warning: {each}" for each in warnings)):
        say(text)


def _train(plan: FitPlan, *, overfit_steps: int, say: Callable[[str], None], show: bool) -> Outcome:
    if plan.choice.mode == "probe":
        return run_probe(plan, overfit_steps=overfit_steps, say=say, show=show)
    warnings: list[str] = []
    if not (plan.output / "resume.pt").exists():
        lines, warnings = rehearse(plan, overfit_steps=overfit_steps)
        _say(say, lines, warnings)
    if plan.choice.mode == "adapter":
        rank, device = plan.request.rank, plan.device
        outcome = train_adapter(plan.config, plan.data, plan.model, plan.info, rank=rank, device=device, show=show)
        return replace(outcome, warnings=tuple(warnings))
    result = train(plan.config, resume=True, show=show)
    return Outcome(result.best_top1, result.num_parameters, result.num_skipped, result.bad_videos, tuple(warnings))


def _take_folder(plan: FitPlan) -> dict[str, Any]:
    """Make the run's folder, or check that the run in it is this one; returns its record.

    A run that ended before it saved anything has nothing to take up, so its settings may be changed. Embeddings know
    by themselves what they belong to.
    """
    path = plan.output / _RECORD
    val = plan.data.val
    settings = {
        "mode": plan.choice.mode,
        "views": plan.request.views,
        "rank": plan.request.rank,
        "training videos": plan.data.train.sha256,
        "validation videos": None if val is None else val.sha256,
        "train": config_as_dict(plan.config),
    }
    has_saved = any((plan.output / name).exists() for name in ("best", "resume.pt"))
    if not (path.exists() and has_saved):
        if has_saved or (not path.exists() and (plan.output / "config.json").exists()):
            raise UsageError(f"{plan.output} already holds a run that is none of fit; choose another --output")
        record: dict[str, Any] = {"settings": settings, "report_of": None}
        write_atomically(path, json.dumps(record, indent=1) + "\n")
        return record
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        before, now = flatten(record["settings"]), flatten(settings)
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise InvalidCheckpoint(f"{path} is damaged ({error}); choose another --output") from error
    changed = [name for name in sorted(before | now) if before.get(name) != now.get(name) and name not in _FREE]
    if changed:
        listed = "; ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in changed[:5])
        kept = plan.request.cache or plan.output / "embeddings"
        reuse = f" (--cache {kept} lets it use the embeddings of this one)" if plan.choice.mode == "probe" else ""
        raise UsageError(f"{plan.output} holds a run with other settings ({listed}); choose another --output{reuse}")
    return record


def _evaluate(plan: FitPlan, record: dict[str, Any], *, show: bool) -> EvaluationReport | None:
    """Evaluate best/ over every listed validation video, unless that was done for the same weights and videos."""
    val, data = plan.data.val, plan.config.data
    if val is None:
        return None
    classifier = Classifier.load(plan.output / "best", device=plan.device)
    weights = tensors_sha256(classifier.model.state_dict())
    evaluated = digest_of([weights, val.sha256, [video_identity(video) for video in val.videos]])
    if record.get("report_of") == evaluated and (plan.output / _REPORT).exists():
        return read_report(plan.output / _REPORT)
    report = evaluate(
        classifier, val, workers=max(data.workers, 1), progress=show, policy=data.policy, decode=data.decode
    )
    write_json(plan.output / _REPORT, report)
    write_atomically(plan.output / _RECORD, json.dumps({**record, "report_of": evaluated}, indent=1) + "\n")
    return report
