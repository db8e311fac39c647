"""A batch comes in, one step of the optimiser goes out: the same step, however many processes share it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from fewframes.data.loader import Batch
from fewframes.training.guards import NotFinite
from fewframes.training.mixing import mix, mix_batch
from fewframes.training.run import Run
from fewframes.video.transforms import to_float

__all__ = ["take_step"]


def take_step(run: Run, batch: Batch) -> tuple[float | None, float | None]:
    """One step of the optimiser over a batch, of which this process has its share, in equal parts if it accumulates.

    The gradient is that of the weighted mean over the clips of all processes, whatever each of them has; one that has
    none still takes part.

    Returns:
        The mean loss, each clip counting as much as its video's weight says, and the gradient's norm before clipping;
        None and no step if the batch is empty in all processes. The norm is None where float16 overflowed: then there
        is no step either, and the next one is scaled down.

    Raises:
        NotFinite: the loss or the gradient is not finite; the weights are as before.
    """
    (total_weight,) = run.world.add_up(float(batch.weights.double().sum()))
    if total_weight == 0:
        return None, None
    buffers = [buffer.clone() for buffer in run.model.buffers()] if run.config.guards.skip_bad_steps else []
    run.network.train()
    run.optimizer.zero_grad(set_to_none=True)
    parts = list(_parts(run, batch))
    loss_sum = 0.0
    answers: list[tuple[Tensor, Tensor]] = []
    for number, (begin, end) in enumerate(parts, start=1):
        # Gradients travel once, with the last part.
        waits = run.world.size > 1 and number < len(parts)
        with run.fabric.no_backward_sync(run.network) if waits else nullcontext():
            if begin < end:
                loss, answer = _forward(run, batch, begin, end)
                answers.append(answer)
            else:
                loss = _take_part(run, batch)
            # Processes share their gradients as a mean, and this is a sum.
            run.fabric.backward(loss * run.world.size / total_weight if run.world.size > 1 else loss / total_weight)
            loss_sum += float(loss.detach())
    mean_loss = run.world.add_up(loss_sum)[0] / total_weight
    try:
        return mean_loss, _apply(run, mean_loss, answers)
    except NotFinite:
        for buffer, before in zip(run.model.buffers(), buffers, strict=False):
            buffer.copy_(before)
        raise


def _parts(run: Run, batch: Batch) -> Iterator[tuple[int, int]]:
    """Which of its clips this process takes at a time; several processes take equally many parts, some empty."""
    count, accumulate = len(batch.labels), run.config.optim.accumulate
    size = run.clips_per_process // accumulate
    begins = range(0, count, size) if run.world.size == 1 else range(0, accumulate * size, size)
    return ((min(begin, count), min(begin + size, count)) for begin in begins)


def _forward(run: Run, batch: Batch, begin: int, end: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The weighted sum of some clips' losses; and the network's answers and their targets."""
    clips_BTCHW = _input(run, batch.clips[begin:end])
    targets, weights_B = run.targets.of(batch)[begin:end], batch.weights[begin:end]
    if run.config.mix.is_on:
        clips_BTCHW, targets, weights_B = _mixed(run, batch, begin, end)
    targets, weights_B = targets.to(run.fabric.device), weights_B.to(run.fabric.device)
    logits_BK = run.network(clips_BTCHW).float()
    loss = run.targets.loss_sum(logits_BK, targets, weights_B)
    if run.teacher is not None:
        with run.fabric.autocast():
            teacher_BK = run.teacher.answer(batch.clips[begin:end].to(run.fabric.device))
        loss = loss + run.teacher.loss_sum(logits_BK, teacher_BK, weights_B)
    return loss, (logits_BK.detach(), targets)


def _input(run: Run, pixels_BTCHW: Tensor) -> Tensor:
    pixels_BTCHW = pixels_BTCHW.to(run.fabric.device)
    return to_float(pixels_BTCHW.flatten(0, 1), run.info.preprocess).reshape(pixels_BTCHW.shape)


def _mixed(run: Run, batch: Batch, begin: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
    """A part mixed as if the whole share were: each clip with its partner in the reversed share, by one draw."""
    count = len(batch.labels)
    # Those of the part, then their partners in reverse: reversed, partners stand beside their clips.
    places = [*range(begin, end), *(count - 1 - place for place in reversed(range(begin, end)))]
    pixels, weights_B = batch.clips[places], batch.weights[places]
    soft = run.targets.soft(run.targets.of(batch)[places]).to(run.fabric.device)
    # The step's seed, which every part starts from again.
    generator = torch.Generator().manual_seed(torch.initial_seed())
    mixed = mix_batch(
        _input(run, pixels),
        soft,
        generator=generator,
        mixup_alpha=run.config.mix.mixup_alpha,
        cutmix_alpha=run.config.mix.cutmix_alpha,
    )
    part = slice(0, end - begin)
    return mixed.clips_BTCHW[part], mixed.targets_BK[part], mix(weights_B, mixed.share)[part]


def _take_part(run: Run, batch: Batch) -> Tensor:
    """A loss of 0 whose gradient is 0, so that the other processes find this one where they share something."""
    if any(isinstance(module, nn.SyncBatchNorm) for module in run.model.modules()):
        empty_0K: Tensor = run.network(_input(run, batch.clips[:0]))  # they ask even a process without clips
        return empty_0K.float().sum() * 0.0
    # In eval mode, so that a clip of nothing leaves no trace in running statistics.
    run.network.eval()
    try:
        nothing = torch.zeros(1, *batch.clips.shape[1:], device=run.fabric.device)
        logits_BK: Tensor = run.network(nothing)
        return logits_BK.float().sum() * 0.0
    finally:
        run.network.train()


def _apply(run: Run, loss: float, answers: list[tuple[Tensor, Tensor]]) -> float | None:
    """Limit the gradient and step; returns its norm before, or None if float16 overflowed and nothing was done."""
    if run.scaler is not None:
        run.scaler.unscale_(run.optimizer)
    norm = nn.utils.clip_grad_norm_(run.network.parameters(), run.config.optim.clip_norm or math.inf)
    grad_norm = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    overflows = run.scaler is not None and run.scaler.get_scale() >= 1 and not math.isfinite(grad_norm)
    if not math.isfinite(loss) or not (math.isfinite(grad_norm) or overflows):
        losses = [run.targets.losses(*answer).cpu() for answer in answers]
        raise NotFinite(loss, grad_norm, torch.cat(losses) if losses else torch.empty(0))
    if run.scaler is None:
        run.optimizer.step()
    else:
        run.scaler.step(run.optimizer)
        run.scaler.update()
    if overflows:
        return None
    if run.average is not None:
        run.average.update(run.model)
    return grad_norm
