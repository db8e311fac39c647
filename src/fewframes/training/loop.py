"""A complete config comes in, a trained checkpoint goes out: one flat loop, read from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict

import torch

from fewframes.data.bad_videos import BadVideos
from fewframes.data.loader import Batch
from fewframes.errors import TrainingFailed, TrainingStopped, UsageError, WorkerDied
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.records import EvaluationReport
from fewframes.training.board import Board
from fewframes.training.config import TrainConfig
from fewframes.training.feed import open_batches as _batches
from fewframes.training.feed import pace_of, timed
from fewframes.training.guards import (
    SIGNALS,
    NotFinite,
    StopSignals,
    clip_facts,
    keep_latest,
    out_of_memory,
    tensors_not_finite,
    write_failure,
)
from fewframes.training.log import RunLog
from fewframes.training.losses import weighted_cross_entropy_sum as weighted_loss_sum
from fewframes.training.optim import learning_rate_factor, peak_learning_rate, set_learning_rate
from fewframes.training.outcome import (
    TrainResult,
    Validation,
    failure_values,
    result_of,
    skipped_text,
    with_results,
)
from fewframes.training.plots import write_curves
from fewframes.training.run import Run
from fewframes.training.setup import start
from fewframes.training.state import Progress, save_state
from fewframes.training.step import take_step
from fewframes.weights.checkpoint import CheckpointInfo, save_checkpoint

__all__ = ["TrainResult", "train", "weighted_loss_sum"]

_SECONDS_BETWEEN_CURVES = 10.0


def train(config: TrainConfig, *, resume: bool = False, show: bool = True) -> TrainResult:
    """Train a network, alone or as one of the processes that torchrun started.

    The same config gives the same weights on the same machine. All randomness follows from the seed and the step, so a
    run that was interrupted and taken up again ends with the same bits as one that was not (float32, CPU); taken up by
    another number of processes, it sees the same batches, and its numbers differ by rounding, dropout and mixing only.

    SIGINT, SIGTERM and SIGUSR1 end the run after the step under way, with its state saved.

    Args:
        config: the whole run.
        resume: go on with the run in `config.output` if there is one.
        show: progress bar and messages on stderr.

    Raises:
        UsageError: settings that do not fit together, or an output folder that holds another run.
        InvalidManifest, InvalidCheckpoint, UnreadableVideo: the inputs are wrong.
        TooManyBadVideos: more videos cannot be read than the cap allows.
        WorkerDied: a process that reads videos was killed or crashed; the run can be taken up again.
        TrainingFailed: the loss or the gradient is not finite, memory ran out, or not one video could be read.
        TrainingStopped: a signal ended the run; it can be taken up again.
    """
    began = time.perf_counter()
    run, progress = start(config, resume=resume, show=show)
    bad = BadVideos(config.data.policy, run.data.train, known=progress.bad_videos)
    progress.bad_videos = bad.found
    signals, first = StopSignals(alone=run.world.size == 1), run.world.is_first
    with _open_log(run, progress, show=show and first) as log, signals.caught():
        for note in run.notes:
            log.say(note)
        while progress.epoch < config.optim.epochs and not _stops_early(run, progress):
            _train_epoch(run, progress, bad, log=log, signals=signals)
            try:
                validation = _validate(run, progress, log=log, signals=signals)
            except TrainingStopped:
                _save_state(run, progress)
                raise
            progress.epoch, progress.step_in_epoch = progress.epoch + 1, 0
            _finish_epoch(run, progress, validation, log)
            _save_state(run, progress)
            _draw(run)
            if progress.epoch < config.optim.epochs and (stop := _signal(run, signals)):
                raise signals.stop(stop)
        if progress.epoch < config.optim.epochs:
            log.say(f"stopped early: the validation accuracy has not risen since epoch {progress.best_epoch}")
        if progress.num_skipped:
            log.say(skipped_text(progress))
        _draw(run, final=True)
    return result_of(run, progress, time.perf_counter() - began)


def _open_log(run: Run, progress: Progress, *, show: bool) -> RunLog:
    first = run.world.is_first
    board = Board(run.output / "tensorboard", from_step=progress.step) if run.config.tensorboard and first else None
    return RunLog(
        run.log_path, total_steps=run.total_steps, from_step=progress.step, show=show, writes=first, board=board
    )


def _train_epoch(run: Run, progress: Progress, bad: BadVideos, *, log: RunLog, signals: StopSignals) -> None:
    """The steps of an epoch that are not done yet; after a signal, no further one."""
    config, epoch = run.config, progress.epoch
    with closing(_batches(run, epoch, skip=progress.step_in_epoch)) as batches, _worker_deaths(run, progress, signals):
        for batch, waited in timed(run, batches, progress, bad=bad, log=log):
            step_began = time.perf_counter()
            factor = learning_rate_factor(progress.step, steps_per_epoch=run.steps_per_epoch, config=config.optim)
            set_learning_rate(run.optimizer, factor)
            # Alone and in the first process the same; each other process has dropout of its own.
            torch.manual_seed(config.seed * 1_000_003 + progress.step + (run.world.rank << 53))
            try:
                loss, grad_norm = _step(run, batch)
            except NotFinite as error:
                _pass_over(run, batch, progress, error=error, log=log)
                loss, grad_norm = None, None
            progress.step += 1
            progress.step_in_epoch += 1
            log.step(epoch, loss, pace_of(run, batch, waited=waited, worked=time.perf_counter() - step_began))
            if progress.step % config.log_every_steps == 0 or progress.step == run.total_steps:
                values = {"loss": loss, "lr": peak_learning_rate(config.optim) * factor, "grad_norm": grad_norm}
                log.write({"step": progress.step, "epoch": epoch + 1, **values, **log.pace()})
            stop = _signal(run, signals)
            if stop or _save_is_due(run, progress):
                _save_state(run, progress)
            if stop:
                raise signals.stop(stop)


def _step(run: Run, batch: Batch) -> tuple[float | None, float | None]:
    """One step of the optimiser; see `take_step`."""
    with out_of_memory(accumulate=run.config.optim.accumulate, clips=run.clips_per_process):
        return take_step(run, batch)


def _pass_over(run: Run, batch: Batch, progress: Progress, *, error: NotFinite, log: RunLog) -> None:
    """Leave out a step whose numbers are not finite, naming its videos; or end the run if there were too many."""
    shares = run.world.gather(list(clip_facts(run.clips, batch.indices, error.losses_B)))
    videos = [video for share in shares for video in share]
    facts = {
        "step": progress.step + 1,
        "epoch": progress.epoch + 1,
        "bad_step": {"loss": str(error.loss), "grad_norm": str(error.grad_norm)},
        "videos": videos,
        **tensors_not_finite(run.model),
    }
    run.optimizer.zero_grad(set_to_none=True)
    # Those first whose own loss is not finite.
    named = ", ".join(str(video["path"]) for video in sorted(videos, key=lambda v: isinstance(v["loss"], float))[:3])
    if progress.bad_steps < run.config.guards.skip_bad_steps:
        progress.bad_steps += 1
        log.write(facts)
        log.say(f"step {progress.step + 1} is left out, its loss or gradient is not finite; videos: {named}, ...")
        return
    failed = run.output / "failed"
    _save(run, "failed", with_results(run.info, progress, None))
    if run.world.is_first:
        write_failure(failed, facts)
    raise TrainingFailed(
        f"step {progress.step + 1}: {error}; its videos: {named}, ...; {failed} has the weights before it and "
        f"failure.json; the last finished epoch, if any, is in {run.output / 'last'}; to leave such steps out, go on "
        "with --guards.skip-bad-steps 10 --resume"
    ) from error


def _validate(run: Run, progress: Progress, *, log: RunLog, signals: StopSignals) -> Validation | None:
    """Validate if it is time; the weights, and their average if there is one. A signal ends it at the next video."""
    epoch, config = progress.epoch + 1, run.config
    if progress.num_skipped == epoch * len(run.clips):
        raise TrainingFailed(
            f"not one of {len(run.clips)} training videos could be read; {run.log_path} names each and the reason"
        )
    if run.data.val is None or not (epoch == config.optim.epochs or epoch % config.validate_every == 0):
        return None
    report, averaged = _evaluate(run, epoch, signals), None
    if run.average is not None:
        with run.average.in_place_of(run.model):
            averaged = _evaluate(run, epoch, signals).listed
    for failure in report.failures:
        log.write({"step": progress.step, **failure_values(failure), "list": "validation"})
    values = {"validation": asdict(report.listed), "validation_failed": len(report.failures)}
    if averaged is not None:
        values["validation_averaged"] = asdict(averaged)
    log.write({"step": progress.step, "epoch": epoch, **values})
    return Validation(report.listed, averaged)


def _evaluate(run: Run, epoch: int, signals: StopSignals) -> EvaluationReport:
    assert run.data.val is not None
    data, model = run.config.data, run.whole_model()
    # Inside the evaluation, so that the other processes hear of it.
    hook = model.register_forward_pre_hook(signals.check)
    try:
        return evaluate(
            Classifier(model, run.info, device=run.fabric.device),
            run.data.val,
            workers=max(data.workers, 1),
            policy=data.policy,
            decode=data.decode,
            shard=run.world.shard,
        )
    except UsageError as error:  # logits that are not finite
        raise TrainingFailed(f"validation after epoch {epoch}: {error}; lower --optim.lr") from error
    finally:
        hook.remove()
        if run.copy is not None:
            run.copy.cpu()  # its place is needed for training


def _finish_epoch(run: Run, progress: Progress, validation: Validation | None, log: RunLog) -> None:
    """Tell how the epoch went; write last/, its like, and, if this is the best epoch so far, best/."""
    final, scores = progress.epoch == run.config.optim.epochs, None if validation is None else validation.scores
    mean_loss, validated = log.mean_loss(), "" if validation is None else f", {validation}"
    loss = f"loss {mean_loss:.3f}" if mean_loss else "no step was left"
    log.say(f"epoch {progress.epoch}/{run.config.optim.epochs}: {loss}{validated}, {log.epoch_pace()}")
    info = with_results(run.info, progress, scores)
    _save(run, "last", info)
    if run.config.guards.keep_epochs:
        _save(run, f"epochs/{progress.epoch:03d}", info)
        if run.world.is_first:
            keep_latest(run.output / "epochs", run.config.guards.keep_epochs)
    averaged_info = info
    if run.average is not None:
        averaged_info = with_results(
            run.info, progress, None if validation is None else validation.averaged, run.average
        )
        _save(run, "averaged", averaged_info, averaged=True)
    is_best = validation is not None and validation.best.top1 > progress.best_top1
    if validation is not None and is_best:
        progress.best_top1, progress.best_epoch = validation.best.top1, progress.epoch
    if is_best or (run.data.val is None and final):
        averaged = run.average is not None and (validation is None or validation.best is validation.averaged)
        _save(run, "best", averaged_info if averaged else info, averaged=averaged)
        log.write({"step": progress.step, "epoch": progress.epoch, "best": "averaged" if averaged else "as trained"})


def _draw(run: Run, *, final: bool = False) -> None:
    """Draw the curves anew; but for the end of the run, not if they are still fresh."""
    path = run.output / "curves.png"
    fresh = not final and path.exists() and time.time() - path.stat().st_mtime < _SECONDS_BETWEEN_CURVES
    if run.world.is_first and not fresh:
        write_curves(run.log_path, path)


def _save(run: Run, name: str, info: CheckpointInfo, *, averaged: bool = False) -> None:
    """Write a checkpoint of the present weights, or of their average; only the first process writes."""
    with run.average.in_place_of(run.model) if run.average is not None and averaged else nullcontext():
        model = run.whole_model()
        if run.world.is_first:
            save_checkpoint(run.output / name, model, info)


def _save_state(run: Run, progress: Progress) -> None:
    save_state(
        run.output,
        run.model,
        optimizer=run.optimizer,
        progress=progress,
        manifest_sha256=run.data.train.sha256,
        others=run.also_saved,
        writes=run.world.is_first,
    )


def _save_is_due(run: Run, progress: Progress) -> bool:
    """Whether to save in mid-epoch; after an epoch's last step it is saved together with the validation."""
    every = run.config.save_every_steps
    return every > 0 and progress.step % every == 0 and progress.step_in_epoch < run.steps_per_epoch


def _stops_early(run: Run, progress: Progress) -> bool:
    patience = run.config.guards.stop_after_epochs
    return patience > 0 and progress.best_epoch > 0 and progress.epoch - progress.best_epoch >= patience


def _signal(run: Run, signals: StopSignals) -> int:
    """The signal that any of the processes has received; 0 if none has."""
    if run.world.size == 1:
        return signals.received
    counts = run.world.add_up(*(signals.received == number for number in SIGNALS))
    return next((number for number, count in zip(SIGNALS, counts, strict=True) if count), 0)


@contextmanager
def _worker_deaths(run: Run, progress: Progress, signals: StopSignals) -> Generator[None]:
    """Where a whole job is told to stop, so are the processes that read videos: no accident then."""
    try:
        yield
    except WorkerDied as error:
        stop = _signal(run, signals)
        if not stop:
            raise
        _save_state(run, progress)
        raise signals.stop(stop) from error
