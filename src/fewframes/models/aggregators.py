"""From the embeddings of a video's frames to one vector for the video: (B, T, D) -> (B, D)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.models.layers import PreNormBlock, SelfAttention, wave_positions

__all__ = ["MeanAggregator", "OfficialAggregator", "PaperAggregator", "init_time_positions_"]


class PostNormLayer(nn.Module):
    """The layer of `torch.nn.TransformerEncoder` in its default form: norm after the residual, ReLU, dropout."""

    def __init__(self, width: int, heads: int, *, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.attn = SelfAttention(width, heads, dropout=dropout)
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.linear1 = nn.Linear(width, mlp_width)
        self.linear2 = nn.Linear(mlp_width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_BSD: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        tokens_BSD = self.norm1(tokens_BSD + self.dropout(self.attn(tokens_BSD)))
        hidden_BSM = self.dropout(F.relu(self.linear1(tokens_BSD)))
        output: Tensor = self.norm2(tokens_BSD + self.dropout(self.linear2(hidden_BSM)))
        return output


class OfficialAggregator(nn.Module):
    """The temporal transformer as STAM was released: a class token, one learned position per frame, post-norm layers.

    Source: `TAggregate` of the STAM release. It differs from the paper, which says "the same equations" as the frame
    encoder (pre-norm, GELU, four times the width inside); `PaperAggregator` is that.

    Args:
        num_frames: T.
        width: D, the frame embedding's size.
        depth: number of layers, 6 in the release.
        heads: attention heads, 8 in the release; must divide `width`.
        mlp_width: inner width of each layer, 2048 in the release.
        dropout: 0.1 in the release, in attention, after it, inside the MLP and after it.
    """

    def __init__(
        self, num_frames: int, width: int, *, depth: int, heads: int, mlp_width: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, num_frames + 1, width))
        self.layers = nn.ModuleList(
            PostNormLayer(width, heads, mlp_width=mlp_width, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, frames_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, D)."""
        tokens_BSD = _with_class_token(frames_BTD, self.cls_token, self.pos_embed)
        for layer in self.layers:
            tokens_BSD = layer(tokens_BSD)
        video_BD: Tensor = self.norm(tokens_BSD[:, 0])
        return video_BD

    def frame_weights(self, frames_BTD: Tensor) -> Tensor:
        """The last layer's attention of the class token to each frame: (B, T, D) -> (B, T), rows sum to 1."""
        tokens_BSD = _with_class_token(frames_BTD, self.cls_token, self.pos_embed)
        for layer in self.layers[:-1]:
            tokens_BSD = layer(tokens_BSD)
        last = self.layers[-1]
        assert isinstance(last, PostNormLayer)
        return _weights_of_frames(last.attn.weights_of_first(tokens_BSD))


class PaperAggregator(nn.Module):
    """The temporal transformer as the STAM paper describes it: the frame encoder's pre-norm GELU blocks over time.

    Source: STAM, section 3, "Temporal attention". Arguments as for `OfficialAggregator`; `mlp_width` is 4 * width
    there, and no dropout is mentioned.
    """

    def __init__(
        self, num_frames: int, width: int, *, depth: int, heads: int, mlp_width: int, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, num_frames + 1, width))
        self.blocks = nn.ModuleList(
            PreNormBlock(width, heads, mlp_width=mlp_width, norm_eps=norm_eps) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps)

    def forward(self, frames_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, D)."""
        tokens_BSD = _with_class_token(frames_BTD, self.cls_token, self.pos_embed)
        for block in self.blocks:
            tokens_BSD = block(tokens_BSD)
        video_BD: Tensor = self.norm(tokens_BSD[:, 0])
        return video_BD

    def frame_weights(self, frames_BTD: Tensor) -> Tensor:
        """The last block's attention of the class token to each frame: (B, T, D) -> (B, T), rows sum to 1."""
        tokens_BSD = _with_class_token(frames_BTD, self.cls_token, self.pos_embed)
        for block in self.blocks[:-1]:
            tokens_BSD = block(tokens_BSD)
        last = self.blocks[-1]
        assert isinstance(last, PreNormBlock)
        return _weights_of_frames(last.attn.weights_of_first(last.norm1(tokens_BSD)))


class MeanAggregator(nn.Module):
    """The average over frames: the paper's baseline, blind to their order."""

    def forward(self, frames_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, D)."""
        return frames_BTD.mean(1)

    def frame_weights(self, frames_BTD: Tensor) -> Tensor:
        """The same weight for each frame: (B, T, D) -> (B, T), 1 / T."""
        batch, frames = frames_BTD.shape[:2]
        return torch.full((batch, frames), 1.0 / frames, device=frames_BTD.device)


@torch.no_grad()
def init_time_positions_(positions_1SD: Tensor) -> None:
    """Start each frame's position from waves over its place in the clip, the class token's from 0; in place."""
    frames = positions_1SD.shape[1] - 1
    positions_1SD.zero_()
    positions_1SD[0, 1:] = wave_positions(torch.arange(frames), positions_1SD.shape[2])


def _with_class_token(frames_BTD: Tensor, class_11D: Tensor, position_1SD: Tensor) -> Tensor:
    class_B1D = class_11D.expand(frames_BTD.shape[0], -1, -1)
    return torch.cat([class_B1D, frames_BTD], dim=1) + position_1SD


def _weights_of_frames(weights_BS: Tensor) -> Tensor:
    """Leave out the class token's attention to itself and let the frames' share sum to 1."""
    weights_BT = weights_BS[:, 1:]
    return weights_BT / weights_BT.sum(1, keepdim=True)
