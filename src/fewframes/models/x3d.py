"""X3D: a clip comes in, a small channel-separated 3-D CNN looks at it, logits go out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_clip, check_image_size, check_share, check_whole, seeded
from fewframes.models.windows import builder_of, check_window, logits_over_windows, window_cells

__all__ = ["X3d", "X3dConfig"]


@dataclass(frozen=True)
class X3dConfig:
    """Everything that fixes an X3D network's shape; the defaults are X3D-M as it is tested.

    XS, S and M are one network at different sizes of clips. L: depth_factor 5.0. XL: width_factor 2.9, depth_factor
    5.0.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a clip.
        image_size: (height, width) in pixels, any.
        window: (height, width) in pixels of what the head looks at at once: the crop of the training. In a larger image
            it looks through every such window, 32 pixels apart, and the probabilities are averaged. None: always the
            whole image at once.
        width_factor: how much wider every stage is than 12, 24, 48 and 96 channels, rounded to multiples of 8.
        depth_factor: how much deeper every stage is than 1, 2, 5 and 3 blocks, rounded up.
        head_width: of the last layer before the classifier.
        dropout: before the classifier, while training.
    """

    num_classes: int = 400
    num_frames: int = 16
    image_size: tuple[int, int] = (256, 256)
    window: tuple[int, int] | None = (224, 224)
    width_factor: float = 2.0
    depth_factor: float = 2.2
    head_width: int = 2048
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames", "head_width"))
        check_image_size(self.image_size)
        check_window(self)
        check_share(self, ("dropout",))
        for name in ("width_factor", "depth_factor"):
            if not 0 < getattr(self, name) <= 100:
                raise UsageError(f"{name} is {getattr(self, name)}; expected a number above 0 and at most 100")


class X3d(nn.Module):
    """X3D as pytorchvideo builds it, but for three things.

    It gives logits, where the original gives probabilities. Its head takes any size of clip. Its Swish is PyTorch's own
    SiLU, the same function, which can be exported and trained.

    Source: Feichtenhofer 2020, "X3D: Expanding Architectures for Efficient Video Recognition"; pytorchvideo 0.1.5.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.

    Raises:
        UsageError: pytorchvideo is not installed.
    """

    def __init__(self, config: X3dConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        create = builder_of("pytorchvideo.models.x3d", "create_x3d")
        with seeded(generator):
            self.network: nn.Module = create(
                model_num_class=config.num_classes,
                dropout_rate=config.dropout,
                width_factor=config.width_factor,
                depth_factor=config.depth_factor,
                inner_act=nn.SiLU,
                head_dim_out=config.head_width,
                head_activation=None,
                head_output_with_global_average=False,
            )
        # The builder only knows square clips of at least 32 pixels.
        self.network.blocks[-1].pool.pool = nn.AvgPool3d((config.num_frames, *window_cells(config)), stride=1)

    head_names = ("network.blocks.5.proj.weight", "network.blocks.5.proj.bias")

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        return logits_over_windows(self.network(clip_BTCHW.transpose(1, 2)))
