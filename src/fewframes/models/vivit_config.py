"""Numbers and names come in, the checked shape of a ViViT goes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fewframes.errors import UsageError
from fewframes.models.checks import check_choice, check_image_size, check_share, check_whole

__all__ = ["VivitConfig"]

_VARIANTS = ("spacetime", "factorised_encoder", "factorised_attention", "factorised_dot_product")


@dataclass(frozen=True)
class VivitConfig:
    """Everything that fixes a ViViT's shape; the defaults are ViViT-B/16x2, model 1, for Kinetics-400.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a video, a multiple of `tubelet_frames`.
        image_size: (height, width) in pixels, multiples of `patch_size`.
        variant: the paper's model 1 "spacetime" (all tokens attend to all), 2 "factorised_encoder" (an encoder over
            space, then one over time), 3 "factorised_attention" (every block attends over space, then over time) or 4
            "factorised_dot_product" (half of the heads attend over time, half over space).
        tubelet_frames: frames that one token spans, the 2 of B/16x2.
        patch_size: side of a token in pixels, or (height, width).
        num_sampled_frames: None for tubelets; a number for the paper's "uniform frame sampling", which takes that many
            of the `num_frames` and embeds each on its own (`tubelet_frames` is then 1).
        width: D.
        depth: blocks; of model 2, those over space.
        heads: A, dividing `width`; even for model 4.
        mlp_ratio: inner width of the MLPs over `width`.
        norm_eps: of every norm.
        attention_order: of model 3. The paper writes space first; the code's default is time first.
        temporal_depth: only for model 2: blocks over time; 0 averages over time (the "average pool" baseline). The
            paper says 4 for all its experiments, but its large models for Kinetics were released with 24.
        temporal_heads: only for model 2: heads of those blocks, dividing `width`; None means `heads`.
        temporal_mlp_width: only for model 2: inner width of their MLPs; None means that of the others.
        drop_path: stochastic depth of an encoder's last block, reached linearly from 0.
        zero_head: whether the head starts at 0, so that all classes are equally likely, as in the original code.
        class_splits: None for one set of classes; the sizes of several that share the head, one after the other, such
            as (300, 97) for the nouns and verbs of EPIC-KITCHENS-100. `num_classes` is their sum.
    """

    num_classes: int = 400
    num_frames: int = 32
    image_size: tuple[int, int] = (224, 224)
    variant: Literal["spacetime", "factorised_encoder", "factorised_attention", "factorised_dot_product"] = "spacetime"
    tubelet_frames: int = 2
    patch_size: int | tuple[int, int] = 16
    num_sampled_frames: int | None = None
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-6
    attention_order: Literal["space_time", "time_space"] = "space_time"
    temporal_depth: int = 4
    temporal_heads: int | None = None
    temporal_mlp_width: int | None = None
    drop_path: float = 0.0
    zero_head: bool = False
    class_splits: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_choice(self, "variant", _VARIANTS)
        check_choice(self, "attention_order", ("space_time", "time_space"))
        check_whole(self, ("num_classes", "num_frames", "tubelet_frames", "width", "depth", "heads"))
        optional = ("num_sampled_frames", "temporal_heads", "temporal_mlp_width")
        check_whole(self, (name for name in optional if getattr(self, name) is not None))
        _check_tokens(self)
        _check_widths(self)
        check_share(self, ("drop_path",))
        splits = self.class_splits
        if splits is not None and (min(splits, default=0) < 1 or sum(splits) != self.num_classes):
            raise UsageError(
                f"class_splits is {splits} but num_classes is {self.num_classes}; "
                "expected sizes that add up to it, or None"
            )

    @property
    def patch(self) -> tuple[int, int]:
        """(height, width) of a token in pixels."""
        return (self.patch_size, self.patch_size) if isinstance(self.patch_size, int) else self.patch_size

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens in time, in height and in width."""
        planes = self.num_sampled_frames or self.num_frames // self.tubelet_frames
        return (planes, self.image_size[0] // self.patch[0], self.image_size[1] // self.patch[1])

    @property
    def mlp_width(self) -> int:
        """Inner width of the MLPs."""
        return round(self.width * self.mlp_ratio)


def _check_tokens(config: VivitConfig) -> None:
    """Raise `UsageError` unless the clip can be cut into tokens without a rest."""
    size = config.patch_size
    if isinstance(size, int):
        check_whole(config, ("patch_size",))
        check_image_size(config.image_size, size)
    else:
        check_image_size(config.image_size)
        whole = len(size) == 2 and all(isinstance(side, int) and side >= 1 for side in size)
        if not whole or any(side % part for side, part in zip(config.image_size, size, strict=True)):
            raise UsageError(
                f"patch_size is {size}; expected (height, width) that divide image_size, {config.image_size}"
            )
    if config.num_frames % config.tubelet_frames:
        raise UsageError(
            f"num_frames is {config.num_frames}; expected a multiple of tubelet_frames, {config.tubelet_frames}"
        )
    sampled = config.num_sampled_frames
    if sampled is not None and (sampled > config.num_frames or config.tubelet_frames != 1):
        raise UsageError(
            f"num_sampled_frames is {sampled}, with num_frames={config.num_frames} and "
            f"tubelet_frames={config.tubelet_frames}; expected at most num_frames, and tubelet_frames=1, "
            "because sampled frames are embedded one by one"
        )


def _check_widths(config: VivitConfig) -> None:
    """Raise `UsageError` unless heads and MLPs fit the width."""
    if config.width % config.heads:
        raise UsageError(f"width is {config.width}; expected a multiple of heads, {config.heads}")
    if config.variant == "factorised_dot_product" and config.heads % 2:
        raise UsageError(f"heads is {config.heads}; expected an even number: half attend over time and half over space")
    if not config.width * config.mlp_ratio >= 1:
        raise UsageError(f"mlp_ratio is {config.mlp_ratio}; expected at least 1 / width, so that an MLP is not empty")
    if not config.norm_eps > 0:
        raise UsageError(f"norm_eps is {config.norm_eps}; expected a number above 0")
    depth = config.temporal_depth
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 0:
        raise UsageError(f"temporal_depth is {depth!r}; expected a whole number of at least 0")
    if config.variant == "factorised_encoder" and depth and config.width % (config.temporal_heads or config.heads):
        raise UsageError(f"width is {config.width}; expected a multiple of temporal_heads, {config.temporal_heads}")
