"""SlowFast: a clip comes in, a slow wide and a fast narrow 3-D CNN look at it together, logits go out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_clip, check_image_size, check_share, check_whole, seeded
from fewframes.models.resnet3d import base_depth, check_depths, keep_depths
from fewframes.models.windows import builder_of, check_window, logits_over_windows, window_cells

__all__ = ["SlowFast", "SlowFastConfig", "slow_frames"]


@dataclass(frozen=True)
class SlowFastConfig:
    """Everything that fixes a SlowFast network's shape; the defaults are SlowFast 8x8, R50, as it is tested.

    R101 8x8: depths (3, 4, 23, 3), fusion_kernel 5. R101 16x8: num_frames 64 and res4_time_blocks 6 as well.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames of the fast pathway, a multiple of `frame_ratio`.
        image_size: (height, width) in pixels, any.
        window: (height, width) in pixels of what the head looks at at once: the crop of the training. In a larger image
            it looks through every such window, 32 pixels apart, and the probabilities are averaged. None: always the
            whole image at once.
        frame_ratio: how many frames of the fast pathway there are to one of the slow.
        depths: blocks of the four stages, at most (3, 8, 36, 3).
        width: channels of the slow pathway's stem, a multiple of 8; the fast one has an eighth of all channels.
        fusion_kernel: frames that a connection from fast to slow spans, odd.
        res4_time_blocks: how many blocks of the third stage look across time; None: all.
        dropout: before the classifier, while training.
    """

    num_classes: int = 400
    num_frames: int = 32
    image_size: tuple[int, int] = (256, 256)
    window: tuple[int, int] | None = (224, 224)
    frame_ratio: int = 4
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    fusion_kernel: int = 7
    res4_time_blocks: int | None = None
    dropout: float = 0.5

    def __post_init__(self) -> None:
        time_blocks = () if self.res4_time_blocks is None else ("res4_time_blocks",)
        check_whole(self, ("num_classes", "num_frames", "frame_ratio", "width", "fusion_kernel", *time_blocks))
        check_image_size(self.image_size)
        check_window(self)
        check_share(self, ("dropout",))
        check_depths(self.depths)
        for name, divisor in (("num_frames", self.frame_ratio), ("width", 8)):
            if getattr(self, name) % divisor:
                raise UsageError(f"{name} is {getattr(self, name)}; expected a multiple of {divisor}")
        if self.fusion_kernel % 2 == 0:
            raise UsageError(f"fusion_kernel is {self.fusion_kernel}; expected an odd number")


def slow_frames(num_frames: int, frame_ratio: int) -> list[int]:
    """Which frames of a clip the slow pathway sees, from the first to the last: 0, 4, 8, 13, 17, 22, 26, 31 of 32.

    Source: PySlowFast, `pack_pathway_output`.
    """
    frames: list[int] = torch.linspace(0, num_frames - 1, num_frames // frame_ratio, device="cpu").long().tolist()
    return frames


class SlowFast(nn.Module):
    """SlowFast as pytorchvideo builds it, but for two things: it picks the slow frames itself; any size of clip fits.

    Source: Feichtenhofer, Fan, Malik, He 2019, "SlowFast Networks for Video Recognition"; pytorchvideo 0.1.5.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.

    Raises:
        UsageError: pytorchvideo is not installed.
    """

    def __init__(self, config: SlowFastConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.slow_frames = slow_frames(config.num_frames, config.frame_ratio)
        create = builder_of("pytorchvideo.models.slowfast", "create_slowfast")
        model_depth, depths = base_depth(config.depths)
        across = depths[2] if config.res4_time_blocks is None else min(config.res4_time_blocks, depths[2])
        res4 = ((3, 1, 1),) * across + ((1, 1, 1),) * (depths[2] - across)
        cells = window_cells(config)
        with seeded(generator):
            self.network: nn.Module = create(
                slowfast_fusion_conv_kernel_size=(config.fusion_kernel, 1, 1),
                slowfast_fusion_conv_stride=(config.frame_ratio, 1, 1),
                model_depth=model_depth,
                model_num_class=config.num_classes,
                dropout_rate=config.dropout,
                stem_dim_outs=(config.width, config.width // 8),
                stage_conv_a_kernel_sizes=(
                    ((1, 1, 1), (1, 1, 1), res4, (3, 1, 1)),
                    ((3, 1, 1), (3, 1, 1), res4, (3, 1, 1)),
                ),
                head_pool_kernel_sizes=((len(self.slow_frames), *cells), (config.num_frames, *cells)),
                head_output_with_global_average=False,
            )
        for pathway in (0, 1):
            keep_depths([block.multipathway_blocks[pathway] for block in self.network.blocks[1:5]], config.depths)

    head_names = ("network.blocks.6.proj.weight", "network.blocks.6.proj.bias")

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        pathways = [frames.transpose(1, 2) for frames in (clip_BTCHW[:, self.slow_frames], clip_BTCHW)]
        # The network writes into the list that it is given, which must therefore be nobody else's.
        return logits_over_windows(self.network(pathways))
