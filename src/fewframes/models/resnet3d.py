"""3-D ResNets with bottlenecks (Slow, I3D, R(2+1)D): a clip comes in, one 3-D CNN looks at it, logits go out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_choice, check_clip, check_image_size, check_share, check_whole, seeded
from fewframes.models.windows import builder_of, check_window, logits_over_windows, window_cells

__all__ = ["Resnet3d", "Resnet3dConfig", "base_depth", "check_depths", "keep_depths"]

# Blocks of each stage that pytorchvideo can build, by its name for them; shallower networks are cut out of these.
_BUILT_DEPTHS: Final = MappingProxyType({50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)})


@dataclass(frozen=True)
class Resnet3dConfig:
    """Everything that fixes such a network's shape; the defaults are Slow 8x8, R50, as it is tested.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a clip; at least 2 for "i3d".
        image_size: (height, width) in pixels, any.
        window: (height, width) in pixels of what the head looks at at once: the crop of the training. In a larger image
            it looks through every such window, 32 pixels apart, and the probabilities are averaged. None: always the
            whole image at once.
        style: "slow", SlowFast's slow pathway alone: time is looked across in the last two stages only; "i3d", an
            inflated 2-D ResNet: in the stem and in every other block, and time is halved once (not the Inception
            network that is called I3D too); "r2plus1d": every 3-D convolution is one over space, then one over time,
            and time is halved twice.
        depths: blocks of the four stages, at most (3, 8, 36, 3).
        width: channels of the stem.
        dropout: before the classifier, while training.
    """

    num_classes: int = 400
    num_frames: int = 8
    image_size: tuple[int, int] = (256, 256)
    window: tuple[int, int] | None = (224, 224)
    style: Literal["slow", "i3d", "r2plus1d"] = "slow"
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames", "width"))
        check_choice(self, "style", ("slow", "i3d", "r2plus1d"))
        check_image_size(self.image_size)
        check_window(self)
        check_share(self, ("dropout",))
        check_depths(self.depths)
        if self.style == "i3d" and self.num_frames < 2:
            raise UsageError("num_frames is 1; expected at least 2, because this network halves time")


def check_depths(depths: tuple[int, ...]) -> None:
    """Raise `UsageError` unless these are blocks of four stages that can be built."""
    most = _BUILT_DEPTHS[152]
    whole = all(isinstance(depth, int) and not isinstance(depth, bool) and depth >= 1 for depth in depths)
    if len(depths) != len(most) or not whole or any(depth > limit for depth, limit in zip(depths, most, strict=True)):
        raise UsageError(f"depths is {depths}; expected four whole numbers of at least 1 and at most {most}")


def base_depth(depths: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The smallest network of pytorchvideo that holds these blocks: its name and its own blocks."""
    return next(
        (name, built)
        for name, built in _BUILT_DEPTHS.items()
        if all(depth <= limit for depth, limit in zip(depths, built, strict=True))
    )


def keep_depths(stages: Iterable[Any], depths: tuple[int, ...]) -> None:
    """Cut pytorchvideo's residual stages down to their first blocks."""
    for stage, depth in zip(stages, depths, strict=True):
        stage.res_blocks = stage.res_blocks[:depth]


class Resnet3d(nn.Module):
    """Slow, I3D or R(2+1)D with bottlenecks as pytorchvideo builds them, but that any size of clip fits.

    Source: Feichtenhofer et al. 2019 (Slow); Carreira, Zisserman 2017 (I3D); Tran et al. 2018 (R(2+1)D); pytorchvideo
    0.1.5.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.

    Raises:
        UsageError: pytorchvideo is not installed.
    """

    def __init__(self, config: Resnet3dConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        with seeded(generator):
            self.network = _build(config)
        keep_depths((block for block in self.network.blocks if hasattr(block, "res_blocks")), config.depths)
        head = f"network.blocks.{len(self.network.blocks) - 1}.proj"
        self.head_names = (f"{head}.weight", f"{head}.bias")

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        return logits_over_windows(self.network(clip_BTCHW.transpose(1, 2)))


def _build(config: Resnet3dConfig) -> Any:  # noqa: ANN401, pytorchvideo has no types
    shared = {
        "model_depth": base_depth(config.depths)[0],
        "model_num_class": config.num_classes,
        "dropout_rate": config.dropout,
        "stem_dim_out": config.width,
        "head_activation": None,
        "head_output_with_global_average": False,
    }
    cells = window_cells(config)
    if config.style == "r2plus1d":
        return builder_of("pytorchvideo.models.r2plus1d", "create_r2plus1d")(
            **shared, head_pool_kernel_size=(-(-config.num_frames // 4), *cells)
        )
    create = builder_of("pytorchvideo.models.resnet", "create_resnet")
    if config.style == "slow":
        return create(**shared, stem_conv_kernel_size=(1, 7, 7), head_pool_kernel_size=(config.num_frames, *cells))
    return create(
        **shared,
        stem_conv_kernel_size=(5, 7, 7),
        stage1_pool=nn.MaxPool3d,
        stage_conv_a_kernel_size=(
            (3, 1, 1),
            [(3, 1, 1), (1, 1, 1)],
            [(3, 1, 1), (1, 1, 1)],
            [(1, 1, 1), (3, 1, 1)],
        ),
        head_pool_kernel_size=(config.num_frames // 2, *cells),
    )
