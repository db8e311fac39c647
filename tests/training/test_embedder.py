"""Embedding videos: the very bits of prediction, each view computed once, and anew whenever anything has changed."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fewframes.training.embedder as embedder_module
from fewframes.architectures import build_from_config
from fewframes.data.bad_videos import BadVideos
from fewframes.data.dataset import View
from fewframes.data.manifest import Manifest
from fewframes.data.manifest_io import read_manifest
from fewframes.errors import TooManyBadVideos, UnreadableVideo
from fewframes.records import BadVideoPolicy, DecodeOptions, Sampling
from fewframes.training.embedder import FRAME_PARTS, Embedded, FrameEmbedder, embed_videos, encodes_frames
from fewframes.training.embeddings import EmbeddingCache
from fewframes.video.clip import load_clip
from fewframes.weights.checkpoint import load_checkpoint
from tests.helpers.tiny_models import tiny_card, tiny_names


@pytest.fixture
def embedder(tiny_checkpoint: Path) -> FrameEmbedder:
    model, info = load_checkpoint(tiny_checkpoint)
    view = View(Sampling("random_in_segment", info.sampling.num_frames), info.preprocess)
    return FrameEmbedder(model, info, view, seed=7)


@pytest.fixture
def manifest(tiny_videos: Path) -> Manifest:
    return read_manifest(tiny_videos).only("test")


@pytest.fixture
def embed(tmp_path: Path) -> Callable[..., Embedded]:
    def run(
        embedder: FrameEmbedder, manifest: Manifest, *, views: int = 1, policy: BadVideoPolicy | None = None
    ) -> Embedded:
        cache = EmbeddingCache(tmp_path / "cache", embedder.origin())
        bad = BadVideos(policy or BadVideoPolicy("error"), manifest)
        return embed_videos(embedder, manifest, views=views, cache=cache, bad=bad, workers=2, show=False)

    return run


@pytest.fixture
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a video was read")

    def arm() -> None:
        monkeypatch.setattr(embedder_module, "read_frames", refuse)
        monkeypatch.setattr(embedder_module, "draw_clip", refuse)

    return arm


def changed(embedder: FrameEmbedder, **changes: Any) -> FrameEmbedder:  # noqa: ANN401
    return dataclasses.replace(embedder, **changes)


def test_the_first_view_is_what_prediction_sees(embedder: FrameEmbedder, manifest: Manifest, embed: Any) -> None:  # noqa: ANN401
    found = embed(embedder, manifest)
    again = embed(embedder, manifest)
    model: Any = embedder.model.eval()
    assert found.frames_NVTD.shape == (8, 1, 3, 24)
    assert found.indices == tuple(range(8))
    for video, frames_VTD, kept_VTD in zip(manifest.videos, found.frames_NVTD, again.frames_NVTD, strict=True):
        clip, _ = load_clip(video.path, embedder.info.sampling, embedder.info.preprocess)
        with torch.inference_mode():
            expected = model.embed_frames(clip.unsqueeze(0))[0]
        assert torch.equal(frames_VTD[0], expected)
        assert torch.equal(kept_VTD[0], expected), "bit for bit from the disk, too"


def test_the_second_time_no_video_is_read(
    embedder: FrameEmbedder,
    manifest: Manifest,
    embed: Any,  # noqa: ANN401
    nothing_is_read: Callable[[], None],
) -> None:
    first = embed(embedder, manifest, views=3)
    assert (first.num_computed, first.num_kept) == (24, 0)
    nothing_is_read()
    second = embed(embedder, manifest, views=3)
    assert (second.num_computed, second.num_kept) == (0, 24)
    assert torch.equal(first.frames_NVTD, second.frames_NVTD)
    with pytest.raises(AssertionError, match="a video was read"):
        embed(embedder, manifest, views=4)


def test_random_views(embedder: FrameEmbedder, manifest: Manifest, embed: Any) -> None:  # noqa: ANN401
    found = embed(embedder, manifest, views=3)
    same = embed(embedder, manifest)
    assert torch.equal(found.frames_NVTD[:, :1], same.frames_NVTD)
    differ = (found.frames_NVTD[:, 1:] - found.frames_NVTD[:, :1]).abs().amax((2, 3)) > 1e-4
    assert bool(differ.all()), "each further view is another"
    other_seed = embed(changed(embedder, seed=8), manifest, views=2)
    assert other_seed.num_kept == 8, "the first view has no seed"
    assert not torch.equal(other_seed.frames_NVTD[:, 1], found.frames_NVTD[:, 1])


def test_views_do_not_depend_on_the_place_in_the_list(embedder: FrameEmbedder, manifest: Manifest, embed: Any) -> None:  # noqa: ANN401
    whole = embed(embedder, manifest, views=2)
    part = dataclasses.replace(manifest, videos=manifest.videos[:2:-1])
    found = embed(embedder, part, views=2)
    assert (found.num_computed, found.num_kept) == (0, 10)
    assert torch.equal(found.frames_NVTD, whole.frames_NVTD.flip(0)[:5])


def test_what_has_changed_is_computed_anew(
    embedder: FrameEmbedder,
    manifest: Manifest,
    embed: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    copies = [shutil.copy(video.path, tmp_path) for video in manifest.videos]
    videos = [dataclasses.replace(video, path=Path(each)) for video, each in zip(manifest.videos, copies, strict=True)]
    listed = dataclasses.replace(manifest, videos=tuple(videos))
    before = embed(embedder, listed)
    shutil.copy(manifest.videos[5].path, copies[2])
    os.utime(copies[4], ns=(0, 1))
    after = embed(embedder, listed)
    assert (after.num_computed, after.num_kept) == (2, 6)
    assert torch.equal(after.frames_NVTD[2], before.frames_NVTD[5])
    assert torch.equal(after.frames_NVTD[4], before.frames_NVTD[4])
    videos[0] = dataclasses.replace(videos[0], start=0.1)
    assert embed(embedder, dataclasses.replace(listed, videos=tuple(videos))).num_computed == 1


def test_another_encoder_misses(embedder: FrameEmbedder, manifest: Manifest, embed: Any) -> None:  # noqa: ANN401
    embed(embedder, manifest)
    info = embedder.info
    pre = dataclasses.replace(info.preprocess, mean=(0.1, 0.0, 0.0))
    assert embed(changed(embedder, info=dataclasses.replace(info, preprocess=pre)), manifest).num_kept == 0
    decode = dataclasses.replace(embedder.view, decode=DecodeOptions(seek="keyframe"))
    assert embed(changed(embedder, view=decode), manifest).num_kept == 0
    sampling = Sampling("segment_middle", info.sampling.num_frames)
    assert embed(changed(embedder, info=dataclasses.replace(info, sampling=sampling)), manifest).num_kept == 0
    # Heads and eps change what the encoder gives, and no tensor says so.
    for change in ({"heads": 3}, {"norm_eps": 1e-6}):
        config = dataclasses.replace(info.config, **change)  # type: ignore[type-var]
        assert embed(changed(embedder, info=dataclasses.replace(info, config=config)), manifest).num_kept == 0
    with torch.no_grad():
        weight = embedder.model.get_parameter("encoder.blocks.0.mlp.fc1.bias")
        weight[3] = torch.nextafter(weight[3], torch.tensor(9.0))
    assert embed(embedder, manifest).num_kept == 0, "one bit of one weight"


def test_another_head_does_not_miss(embedder: FrameEmbedder, manifest: Manifest, embed: Any) -> None:  # noqa: ANN401
    embed(embedder, manifest)
    changes = {"num_classes": 9, "aggregator": "paper", "temporal_depth": 2, "temporal_mlp_width": 31}
    config = dataclasses.replace(embedder.info.config, **changes)  # type: ignore[type-var]
    model = build_from_config(config, torch.Generator().manual_seed(3))
    model.get_submodule("encoder").load_state_dict(embedder.model.get_submodule("encoder").state_dict())
    info = dataclasses.replace(embedder.info, config=config, labels=tuple("abcdefghi"))
    assert embed(changed(embedder, model=model, info=info), manifest).num_kept == 8


def with_bad_video(manifest: Manifest, tmp_path: Path) -> tuple[Manifest, Path]:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    videos = list(manifest.videos)
    videos[3] = dataclasses.replace(videos[3], path=bad)
    return dataclasses.replace(manifest, videos=tuple(videos)), bad


def test_videos_that_cannot_be_read(
    embedder: FrameEmbedder,
    manifest: Manifest,
    embed: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    listed, path = with_bad_video(manifest, tmp_path)
    with pytest.raises(UnreadableVideo, match=r"bad\.mp4.*--on-bad-video skip"):
        embed(embedder, listed, views=2)
    found = embed(embedder, listed, views=2, policy=BadVideoPolicy("skip"))
    assert (found.indices, found.failed) == ((0, 1, 2, 4, 5, 6, 7), (3,))
    assert found.num_kept == 6, "what was computed before the work stopped"
    twice = dataclasses.replace(listed, videos=(*listed.videos, listed.videos[3], listed.videos[0]))
    with pytest.raises(TooManyBadVideos, match="2 of 10 videos"):
        embed(embedder, twice, policy=BadVideoPolicy("skip"))
    cache = EmbeddingCache(tmp_path / "cache", embedder.origin())
    bad = BadVideos(BadVideoPolicy("skip", 0.2), twice)
    both = embed_videos(embedder, twice, views=1, cache=cache, bad=bad, workers=0, show=False)
    assert both.failed == (3, 8)
    assert [failure.path for failure in bad.failures] == [str(path)] * 2
    assert torch.equal(both.frames_NVTD[0], both.frames_NVTD[-1])
    nothing = dataclasses.replace(listed, videos=listed.videos[3:4])
    assert embed(embedder, nothing, policy=BadVideoPolicy("skip", 1.0)).indices == ()


def test_damage_is_told(embedder: FrameEmbedder, manifest: Manifest, embed: Any, tmp_path: Path) -> None:  # noqa: ANN401
    first = embed(embedder, manifest)
    (shard,) = (tmp_path / "cache").rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-3])
    again = embed(embedder, manifest)
    assert (again.num_computed, again.num_damaged) == (8, 1)
    assert torch.equal(again.frames_NVTD, first.frames_NVTD)


def test_what_embeds_and_what_classifies_are_two_halves() -> None:
    """Every network that offers the seam keeps to the names by which the two are told apart."""
    networks: dict[str, Any] = {name: build_from_config(tiny_card(name).config).eval() for name in tiny_names()}
    offering = {name: model for name, model in networks.items() if encodes_frames(model)}
    kinds = {type(model).__name__ for model in offering.values()}
    assert {"Stam", "StamTimm", "VivitFactorisedEncoder"} <= kinds
    assert "Timesformer" not in kinds
    for name, model in offering.items():
        clip = torch.randn(1, model.config.num_frames, 3, *model.config.image_size)
        frames = model.embed_frames(clip)
        assert _reached(model, frames) == {each for each in _names(model) if each.startswith(FRAME_PARTS)}, name
        logits = model.classify(frames.detach())
        assert _reached(model, logits) == {each for each in _names(model) if not each.startswith(FRAME_PARTS)}, name


def _names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


def _reached(model: nn.Module, output: torch.Tensor) -> set[str]:
    model.zero_grad(set_to_none=True)
    (output * torch.randn_like(output)).sum().backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}
