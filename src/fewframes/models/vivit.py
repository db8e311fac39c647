"""ViViT, models 1 and 2: a clip comes in, is cut into tubelets that attend in space and time, logits go out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_clip
from fewframes.models.layers import SelfAttention
from fewframes.models.positions import PositionTable
from fewframes.models.vivit_config import VivitConfig
from fewframes.models.vivit_factorised import VivitFactorisedAttention, VivitFactorisedDotProduct
from fewframes.models.vivit_parts import TokenEncoder, TubeletEmbed, VivitBlock, drop_rates, init_vivit_

__all__ = ["Vivit", "VivitConfig", "VivitFactorisedEncoder", "build_vivit"]


def build_vivit(config: VivitConfig, generator: torch.Generator | None = None) -> nn.Module:
    """The network that `config.variant` names, with new random weights.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.

    Returns:
        A module (B, T, 3, H, W) -> (B, K) logits, in training mode.
    """
    if config.variant == "factorised_encoder":
        return VivitFactorisedEncoder(config, generator)
    if config.variant == "factorised_attention":
        return VivitFactorisedAttention(config, generator)
    if config.variant == "factorised_dot_product":
        return VivitFactorisedDotProduct(config, generator)
    return Vivit(config, generator)


class Vivit(nn.Module):
    """Model 1, spatio-temporal attention: a class token and all tubelets of the clip in one encoder.

    Source: Arnab et al. 2021, arXiv:2103.15691, section 3.3, model 1, as released. The numbers agree with the original
    code, whose GELU is the tanh form.

    Args:
        config: the network's shape, of the variant "spacetime".
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: VivitConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        assert config.variant == "spacetime"
        self.config = config
        planes, rows, columns = config.grid
        self.patch_embed = TubeletEmbed(config)
        self.encoder = _class_encoder(config, planes * rows * columns)
        self.head = nn.Linear(config.width, config.num_classes)
        init_vivit_(self, config, generator)

    def position_tables(self) -> tuple[PositionTable, ...]:
        """The learned positions, one for each token of the clip."""
        return (PositionTable("encoder.pos_embed", has_class=True, grid=self.config.grid),)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        tokens_BUPD = self.patch_embed(clip_BTCHW)
        logits_BK: Tensor = self.head(self.encoder(tokens_BUPD.flatten(1, 2)))
        return logits_BK.float()


class VivitFactorisedEncoder(nn.Module):
    """Model 2, factorised encoder: each plane of tubelets is encoded on its own, then an encoder looks across time.

    Because planes are encoded one by one, `embed_frames` and `classify` are two independent halves, and
    `model(clip)` equals `model.classify(model.embed_frames(clip))` exactly. With `temporal_depth=0` the second half is
    the average over time, the paper's "average pool" baseline.

    Source: Arnab et al. 2021, arXiv:2103.15691, section 3.3, model 2, as released. As in the original code, stochastic
    depth drops a spatial block for all planes of a video at once.

    Args:
        config: the network's shape, of the variant "factorised_encoder".
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: VivitConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        assert config.variant == "factorised_encoder"
        self.config = config
        planes, rows, columns = config.grid
        self.patch_embed = TubeletEmbed(config)
        self.encoder = _class_encoder(config, rows * columns)
        self.temporal: TokenEncoder | None = _temporal_encoder(config, planes) if config.temporal_depth else None
        self.head = nn.Linear(config.width, config.num_classes)
        init_vivit_(self, config, generator)

    def position_tables(self) -> tuple[PositionTable, ...]:
        """The learned positions: of patches in a plane, and of planes in the clip."""
        planes, rows, columns = self.config.grid
        space = PositionTable("encoder.pos_embed", has_class=True, grid=(1, rows, columns))
        if self.temporal is None:
            return (space,)
        return (space, PositionTable("temporal.pos_embed", has_class=True, grid=(planes, 1, 1)))

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        return self.classify(self.embed_frames(clip_BTCHW))

    def embed_frames(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, U, D), one vector for each tubelet in time, each on its own.

        T may be any multiple of `tubelet_frames`, then U = T / tubelet_frames; with `num_sampled_frames` it is fixed.
        """
        config = self.config
        check_clip(clip_BTCHW, config, any_frames=config.num_sampled_frames is None)
        if clip_BTCHW.shape[1] % config.tubelet_frames:
            raise UsageError(
                f"the clip has {clip_BTCHW.shape[1]} frames; expected a multiple of tubelet_frames, "
                f"{config.tubelet_frames}"
            )
        tokens_BUPD = self.patch_embed(clip_BTCHW)
        batch, planes = tokens_BUPD.shape[:2]
        planes_BUD: Tensor = self.encoder(tokens_BUPD.flatten(0, 1), planes).unflatten(0, (batch, planes))
        return planes_BUD

    def classify(self, planes_BUD: Tensor) -> Tensor:
        """(B, U, D), as `embed_frames` gives them -> (B, K) float32 logits. Raises UsageError if U or D do not fit."""
        self._check_planes(planes_BUD)
        video_BD = planes_BUD.mean(1) if self.temporal is None else self.temporal(planes_BUD)
        logits_BK: Tensor = self.head(video_BD)
        return logits_BK.float()

    def frame_weights(self, planes_BUD: Tensor) -> Tensor:
        """How much the class token attends to each frame in the last temporal block: (B, U, D) -> (B, T), sums to 1.

        The frames of a tubelet share its weight evenly; frames that were not sampled have none.
        """
        self._check_planes(planes_BUD)
        batch, planes = planes_BUD.shape[:2]
        if self.temporal is None:
            weights_BU = planes_BUD.new_full((batch, planes), 1 / planes, dtype=torch.float32)
        else:
            weights_BU = self.temporal.weights_of_class(planes_BUD)
        picked = self.patch_embed.picked
        if picked is None:
            span = self.config.tubelet_frames
            return weights_BU.repeat_interleave(span, dim=1) / span
        weights_BT = weights_BU.new_zeros(batch, self.config.num_frames)
        return weights_BT.index_copy(1, picked, weights_BU)

    def _check_planes(self, planes_BUD: Tensor) -> None:
        planes = self.config.grid[0]
        if planes_BUD.ndim != 3 or planes_BUD.shape[2] != self.config.width:
            raise UsageError(
                f"the embeddings are {tuple(planes_BUD.shape)}; expected (B, {planes}, {self.config.width}), "
                "as embed_frames gives them"
            )
        if planes_BUD.shape[1] != planes and (self.temporal is not None or planes_BUD.shape[1] < 1):
            raise UsageError(
                f"the clip has {planes_BUD.shape[1]} planes of tubelets but the model needs {planes}; "
                f"sample with count={self.config.num_frames}"
            )


def _class_encoder(config: VivitConfig, num_tokens: int) -> TokenEncoder:
    return _encoder(config, num_tokens, heads=config.heads, mlp_width=config.mlp_width, depth=config.depth)


def _temporal_encoder(config: VivitConfig, num_tokens: int) -> TokenEncoder:
    return _encoder(
        config,
        num_tokens,
        heads=config.temporal_heads or config.heads,
        mlp_width=config.temporal_mlp_width or config.mlp_width,
        depth=config.temporal_depth,
    )


def _encoder(config: VivitConfig, num_tokens: int, *, heads: int, mlp_width: int, depth: int) -> TokenEncoder:
    blocks = (
        VivitBlock(
            config.width,
            SelfAttention(config.width, heads),
            mlp_width=mlp_width,
            norm_eps=config.norm_eps,
            drop_path=rate,
        )
        for rate in drop_rates(config, depth)
    )
    return TokenEncoder(num_tokens, config.width, blocks=blocks, has_class=True, norm_eps=config.norm_eps)
