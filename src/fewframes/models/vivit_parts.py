"""The parts of all four ViViTs: a clip comes in, tokens, attended tokens and one vector for the clip go out.

U counts planes of tokens: steps in time, one for each tubelet or sampled frame.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fewframes.models.layers import Mlp, SelfAttention, init_transformer_, wave_positions
from fewframes.models.vit import grid_positions
from fewframes.models.vivit_config import VivitConfig

__all__ = [
    "DropBranch",
    "TokenEncoder",
    "TubeletEmbed",
    "VivitBlock",
    "drop_rates",
    "init_vivit_",
    "sampled_frames",
]


def sampled_frames(num_frames: int, count: int) -> tuple[int, ...]:
    """The frames that "uniform frame sampling" takes: round(k * T / (count + 1)) for k from 1, halves to even.

    The original code computes this with a floating-point range, which for about one pair (T, count) in nine gives
    another frame, or one frame more than asked for. For the published pair, 8 of 32, both agree.

    Args:
        num_frames: T.
        count: at most T; T takes every frame.
    """
    if count >= num_frames:
        return tuple(range(num_frames))
    return tuple(min(round(index * num_frames / (count + 1)), num_frames - 1) for index in range(1, count + 1))


class TubeletEmbed(nn.Module):
    """Cuts a clip into blocks of time, height and width and projects each: (B, T, 3, H, W) -> (B, U, P, D).

    Source: Arnab et al. 2021, section 3.2; a block of one frame, of chosen frames, is "uniform frame sampling".

    Args:
        config: of the network.
    """

    def __init__(self, config: VivitConfig) -> None:
        super().__init__()
        size = (config.tubelet_frames, *config.patch)
        self.proj = nn.Conv3d(3, config.width, kernel_size=size, stride=size)
        picked: Tensor | None = None
        if config.num_sampled_frames is not None:
            picked = torch.tensor(sampled_frames(config.num_frames, config.num_sampled_frames))
        self.picked: Tensor | None
        self.register_buffer("picked", picked, persistent=False)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, U, P, D), patches row by row."""
        frames = clip_BTCHW if self.picked is None else clip_BTCHW.index_select(1, self.picked)
        blocks = self.proj(frames.transpose(1, 2))
        tokens_BUPD: Tensor = blocks.flatten(3).permute(0, 2, 3, 1)
        return tokens_BUPD


class DropBranch(nn.Module):
    """Stochastic depth as ViViT has it: drops a residual branch for whole videos while training, rescales nothing.

    Source: the original code. The paper's equation 10 lets the probability grow as l / L; the code, and we, as
    l / (L - 1), see `drop_rates`.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor, shared_by: int = 1) -> Tensor:
        """(B * shared_by, ...) -> the same; each run of `shared_by` samples is one video and drawn for at once."""
        if not self.training or self.probability == 0.0:
            return branch
        videos = torch.empty(branch.shape[0] // shared_by, device=branch.device).bernoulli_(1.0 - self.probability)
        kept = videos.repeat_interleave(shared_by).reshape(-1, *[1] * (branch.ndim - 1))
        return branch * kept.to(branch.dtype)


def drop_rates(config: VivitConfig, depth: int) -> list[float]:
    """The probability of each block of an encoder, first to last."""
    return [config.drop_path * index / max(depth - 1, 1) for index in range(depth)]


class VivitBlock(nn.Module):
    """`x + Attention(LN(x))`, then `x + MLP(LN(x))`, with the tanh form of GELU, Flax's own.

    Args:
        width: D.
        attention: (B, N, D) -> (B, N, D).
        mlp_width: inner width of the MLP.
        norm_eps: of both norms.
        drop_path: of both branches, drawn separately.
    """

    def __init__(
        self, width: int, attention: nn.Module, *, mlp_width: int, norm_eps: float, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_width, gelu="tanh")
        self.drop_path = DropBranch(drop_path)

    def forward(self, tokens_BND: Tensor, shared_by: int = 1) -> Tensor:
        """(B, N, D) -> (B, N, D); see `DropBranch` for `shared_by`."""
        tokens_BND = tokens_BND + self.drop_path(self.attn(self.norm1(tokens_BND)), shared_by)
        output: Tensor = tokens_BND + self.drop_path(self.mlp(self.norm2(tokens_BND)), shared_by)
        return output


class TokenEncoder(nn.Module):
    """Adds a class token, if there is to be one, and positions, runs the blocks, and gives one vector.

    Args:
        num_tokens: N, without the class token.
        width: D.
        blocks: modules (B, S, D) -> (B, S, D), first to last.
        has_class: whether the vector is the class token's; otherwise it is the average over tokens.
        norm_eps: of the last norm.
    """

    def __init__(
        self, num_tokens: int, width: int, *, blocks: Iterable[nn.Module], has_class: bool, norm_eps: float
    ) -> None:
        super().__init__()
        self.cls_token: nn.Parameter | None = nn.Parameter(torch.zeros(1, 1, width)) if has_class else None
        self.pos_embed = nn.Parameter(torch.zeros(1, has_class + num_tokens, width))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=norm_eps)

    def forward(self, tokens_BND: Tensor, shared_by: int = 1) -> Tensor:
        """(B, N, D) -> (B, D); see `DropBranch` for `shared_by`."""
        tokens_BSD = self.place(tokens_BND)
        for block in self.blocks:
            tokens_BSD = block(tokens_BSD, shared_by)
        if self.cls_token is None:
            average_BD: Tensor = self.norm(tokens_BSD).mean(1)
            return average_BD
        # The norm works token by token: norm the one that is used, not all.
        class_BD: Tensor = self.norm(tokens_BSD[:, 0])
        return class_BD

    def place(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, S, D): the class token, if there is one, and the tokens, each at its position."""
        if self.cls_token is None:
            return tokens_BND + self.pos_embed
        class_B1D = self.cls_token.expand(tokens_BND.shape[0], -1, -1)
        return torch.cat([class_B1D, tokens_BND], dim=1) + self.pos_embed

    def weights_of_class(self, tokens_BND: Tensor) -> Tensor:
        """The last block's attention of the class token to each other one: (B, N, D) -> (B, N), rows sum to 1."""
        tokens_BSD = self.place(tokens_BND)
        for block in self.blocks[:-1]:
            tokens_BSD = block(tokens_BSD)
        last = self.blocks[-1]
        assert isinstance(last, VivitBlock) and isinstance(last.attn, SelfAttention)
        weights_BN = last.attn.weights_of_first(last.norm1(tokens_BSD))[:, 1:]
        return weights_BN / weights_BN.sum(1, keepdim=True)


@torch.no_grad()
def init_vivit_(model: nn.Module, config: VivitConfig, generator: torch.Generator | None = None) -> None:
    """Draw all weights anew, in place; positions start as waves over time plus waves over row and column.

    The original code draws positions with a standard deviation of 0.02 and starts class tokens and head at 0; see
    `VivitConfig.zero_head` for the latter.
    """
    init_transformer_(model, generator)
    planes, rows, columns = config.grid
    of_space_PD = grid_positions(rows, columns, config.width)
    of_time_UD = wave_positions(torch.arange(planes), config.width)
    of_both_UPD = of_time_UD.unsqueeze(1) + of_space_PD
    encoder = model.get_submodule("encoder")
    assert isinstance(encoder, TokenEncoder)
    _set_positions_(encoder, of_space_PD if config.variant == "factorised_encoder" else of_both_UPD.flatten(0, 1))
    temporal = getattr(model, "temporal", None)
    if isinstance(temporal, TokenEncoder):
        _set_positions_(temporal, of_time_UD)
    if config.zero_head:
        nn.init.zeros_(model.get_parameter("head.weight"))


def _set_positions_(encoder: TokenEncoder, positions_ND: Tensor) -> None:
    encoder.pos_embed.zero_()
    encoder.pos_embed[0, int(encoder.cls_token is not None) :] = positions_ND
