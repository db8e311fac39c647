"""A plan for a probe comes in; its videos are encoded once, its head is trained, and best/ is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from fewframes.data.bad_videos import BadVideos
from fewframes.data.loader import epoch_order
from fewframes.data.manifest import Manifest
from fewframes.records import Failure
from fewframes.report.text import plural
from fewframes.training.embedder import Embedded, FrameEmbedder, embed_videos
from fewframes.training.embeddings import EmbeddingCache
from fewframes.training.fit_checks import initial_loss_warning, overfit_line, overfit_one_batch
from fewframes.training.fit_start import FitPlan
from fewframes.training.fit_time import Outcome, duration_text
from fewframes.training.log import RunLog
from fewframes.training.probe import FrameData, ProbeResult, freeze_encoder, score, train_probe
from fewframes.training.setup import training_clips
from fewframes.weights.checkpoint import save_checkpoint

__all__ = ["encoding_line", "open_cache", "run_probe"]

_NAMED_IN_CHECKPOINT = 100


def open_cache(plan: FitPlan) -> tuple[FrameEmbedder, EmbeddingCache]:
    """The plan's encoder on its device, and where its embeddings are kept."""
    clips = training_clips(plan.config, plan.data, plan.info, show=False)
    model = plan.model.to(plan.device)
    embedder = FrameEmbedder(model, plan.info, clips.view, plan.config.seed, plan.device)
    folder = plan.request.cache or plan.output / "embeddings"
    return embedder, EmbeddingCache(folder, embedder.origin())


def encoding_line(plan: FitPlan, embedder: FrameEmbedder, cache: EmbeddingCache) -> str:
    """How many views are still to be encoded, and how long that takes, measured on one of them."""
    wanted = _keys(embedder, plan.data.train, plan.request.views) | _keys(embedder, plan.data.val, 1)
    missing = wanted - cache.load(wanted).keys()
    kept = f"{len(wanted) - len(missing):,} of {plural(len(wanted), 'view')} are kept in {cache.folder}"
    if not missing:
        return f"{kept}; no video is read"
    for video in plan.data.train.videos:
        began = time.perf_counter()
        clip = embedder.read(video, 0)
        if isinstance(clip, Failure):
            continue
        read = time.perf_counter() - began
        embedder.embed(clip)  # the first one also warms up
        began = time.perf_counter()
        embedder.embed(clip)
        encode = time.perf_counter() - began
        seconds = len(missing) * max(encode, read / max(plan.config.data.workers, 1))
        return (
            f"{kept}; to encode the others takes about {duration_text(seconds)} "
            f"(measured: {encode:.2g} s to encode one, {read:.2g} s to decode it)"
        )
    return kept


def run_probe(plan: FitPlan, *, overfit_steps: int, say: Callable[[str], None], show: bool) -> Outcome:
    """Encode, check, train, write best/."""
    embedder, cache = open_cache(plan)
    say(encoding_line(plan, embedder, cache))
    config, data, model = plan.config, plan.data, plan.model
    bad = BadVideos(config.data.policy, data.train)
    train, embedded = _frames(plan, embedder, cache, (data.train, bad), plan.request.views, show)
    val = None
    if data.val is not None:
        bad_val = BadVideos(config.data.policy, data.val)
        val, _ = _frames(plan, embedder, cache, (data.val, bad_val), 1, show)
    if cache.num_damaged:
        say(
            f"warning: {plural(cache.num_damaged, 'damaged file')} of kept embeddings; what they held was computed anew"
        )
    freeze_encoder(model)
    warnings = _rehearse(plan, train, overfit_steps, say) if train.labels_N.shape[0] else ()
    steps = -(-max(train.labels_N.shape[0], 1) // config.optim.batch_size) * config.optim.epochs
    with RunLog(plan.output / "log.jsonl", total_steps=steps, show=show) as log:
        for failure in bad.failures:
            log.write({"step": 0, "skipped": failure.path, "reason": failure.reason})
        result = train_probe(model, train, val, optim=config.optim, seed=config.seed, log=log)
    say(f"{plural(result.steps, 'step')} on kept embeddings took {duration_text(result.seconds)}")
    _save(plan, result, embedded, bad)
    return Outcome(
        top1=None if result.scores is None else result.scores.top1,
        num_trained=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        num_skipped=len(bad.failures),
        bad_videos=bad.failures,
        warnings=tuple(warnings),
    )


def _frames(
    plan: FitPlan,
    embedder: FrameEmbedder,
    cache: EmbeddingCache,
    listed: tuple[Manifest, BadVideos],
    views: int,
    show: bool,
) -> tuple[FrameData, Embedded]:
    manifest, bad = listed
    workers = plan.config.data.workers
    found = embed_videos(embedder, manifest, views=views, cache=cache, bad=bad, workers=workers, show=show)
    labels = manifest.indices_of(plan.data.labels)
    data = FrameData(
        frames_NVTD=found.frames_NVTD,
        labels_N=torch.tensor([labels[index] for index in found.indices], dtype=torch.int64),
        weights_N=torch.tensor([manifest.videos[index].weight for index in found.indices], dtype=torch.float32),
        failed_labels=tuple(labels[index] for index in found.failed),
    )
    return data, found


def _rehearse(plan: FitPlan, train: FrameData, overfit_steps: int, say: Callable[[str], None]) -> Sequence[str]:
    """The loss before training, and on request one batch learnt by heart; returns warnings."""
    warnings: list[str] = []
    on_device = train.to(plan.device)
    loss = score(plan.model, on_device)[1]
    say(f"loss before training: {loss:.2f}")
    if plan.head_is_new and (warning := initial_loss_warning(loss, len(plan.data.labels))):
        warnings.append(warning)
    if overfit_steps:
        count = train.labels_N.shape[0]
        picked = epoch_order(count, seed=plan.config.seed, epoch=0)[: plan.config.optim.batch_size]
        inputs, labels_B = on_device.frames_NVTD[picked, 0], on_device.labels_N[picked]
        optim = plan.config.optim
        found = overfit_one_batch(plan.model, _classify_of, inputs, labels_B, optim=optim, steps=overfit_steps)
        (say if found.learnt else warnings.append)(overfit_line(found))
    for text in warnings:
        say(f"warning: {text}")
    return warnings


def _classify_of(model: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    network: Any = model
    classify: Callable[[torch.Tensor], torch.Tensor] = network.classify
    return classify


def _save(plan: FitPlan, result: ProbeResult, embedded: Embedded, bad: BadVideos) -> None:
    results = {
        "epochs": result.epoch,
        "steps": result.steps,
        "videos_embedded": len(embedded.indices),
        "bad_videos": len(bad.failures),
        "bad_videos_named": [asdict(failure) for failure in bad.failures[:_NAMED_IN_CHECKPOINT]],
        "validation": None if result.scores is None else asdict(result.scores),
    }
    info = replace(plan.info, provenance={**plan.info.provenance, **results})
    save_checkpoint(plan.output / "best", plan.model, info)


def _keys(embedder: FrameEmbedder, manifest: Manifest | None, views: int) -> set[str]:
    videos = () if manifest is None else manifest.videos
    return {embedder.key(video, view) for video in videos for view in range(views)}
