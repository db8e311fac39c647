"""ViViT, models 3 and 4: a clip comes in, its tubelets attend over space and over time separately, logits go out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.models.checks import check_clip
from fewframes.models.layers import Mlp, SelfAttention
from fewframes.models.positions import PositionTable
from fewframes.models.vivit_config import VivitConfig
from fewframes.models.vivit_parts import DropBranch, TokenEncoder, TubeletEmbed, VivitBlock, drop_rates, init_vivit_

__all__ = ["FactorisedBlock", "HalvedAttention", "VivitFactorisedAttention", "VivitFactorisedDotProduct"]


class FactorisedBlock(nn.Module):
    """Attention within each plane and attention along each patch, in either order, then the MLP; each with a residual.

    The original code's block takes a probability of being dropped and never uses it; here each of the three branches
    is dropped, drawn separately, as in the other models.

    Source: Arnab et al. 2021, section 3.3, model 3, equations 4 to 6.

    Args:
        config: of the network.
        drop_path: of this block.
    """

    def __init__(self, config: VivitConfig, *, drop_path: float) -> None:
        super().__init__()
        width, heads, eps = config.width, config.heads, config.norm_eps
        self.num_planes = config.grid[0]
        self.space_first = config.attention_order == "space_time"
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = SelfAttention(width, heads)
        self.temporal_norm1 = nn.LayerNorm(width, eps=eps)
        self.temporal_attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, config.mlp_width, gelu="tanh")
        self.drop_path = DropBranch(drop_path)

    def forward(self, tokens_BND: Tensor, shared_by: int = 1) -> Tensor:
        """(B, U * P, D), plane by plane -> the same shape."""
        tokens_BUPD = torch.unflatten(tokens_BND, 1, (self.num_planes, -1))
        if self.space_first:
            tokens_BUPD = self._over_time(self._over_space(tokens_BUPD, shared_by), shared_by)
        else:
            tokens_BUPD = self._over_space(self._over_time(tokens_BUPD, shared_by), shared_by)
        tokens_BND = tokens_BUPD.flatten(1, 2)
        output: Tensor = tokens_BND + self.drop_path(self.mlp(self.norm2(tokens_BND)), shared_by)
        return output

    def _over_space(self, tokens_BUPD: Tensor, shared_by: int) -> Tensor:
        mixed_FPD = self.attn(self.norm1(tokens_BUPD).flatten(0, 1))
        mixed_BUPD = mixed_FPD.unflatten(0, tokens_BUPD.shape[:2])
        output: Tensor = tokens_BUPD + self.drop_path(mixed_BUPD, shared_by)
        return output

    def _over_time(self, tokens_BUPD: Tensor, shared_by: int) -> Tensor:
        batch, _, patches, _ = tokens_BUPD.shape
        tubes_XUD = self.temporal_norm1(tokens_BUPD).transpose(1, 2).flatten(0, 1)
        mixed_BPUD = self.temporal_attn(tubes_XUD).unflatten(0, (batch, patches))
        output: Tensor = tokens_BUPD + self.drop_path(mixed_BPUD.transpose(1, 2), shared_by)
        return output


class HalvedAttention(SelfAttention):
    """Attention whose first half of heads looks along time, at the same patch, and second half within a plane.

    Source: Arnab et al. 2021, section 3.3, model 4, equation 7.

    Args:
        width: D.
        heads: A, even.
        num_planes: U.
    """

    def __init__(self, width: int, heads: int, num_planes: int) -> None:
        super().__init__(width, heads)
        assert heads % 2 == 0, f"{heads} heads cannot be halved"
        self.num_planes = num_planes

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, U * P, D), plane by plane -> the same shape."""
        half = self.heads // 2
        grids = [torch.unflatten(each_BANE, 2, (self.num_planes, -1)) for each_BANE in self._project(tokens_BND)]
        time_BGPUE = _attend(*(each[:, :half].transpose(2, 3) for each in grids))
        space_BGUPE = _attend(*(each[:, half:] for each in grids))
        mixed_BAUPE = torch.cat([time_BGPUE.transpose(2, 3), space_BGUPE], dim=1)
        output: Tensor = self.proj(mixed_BAUPE.flatten(2, 3).transpose(1, 2).flatten(2))
        return output


def _attend(query_BGXYE: Tensor, key_BGXYE: Tensor, value_BGXYE: Tensor) -> Tensor:
    """Attention over Y, for each of the others on its own."""
    # Four dimensions, which is what the fast kernels take and what counters of operations understand.
    query, key, value = (each.flatten(0, 1) for each in (query_BGXYE, key_BGXYE, value_BGXYE))
    return torch.unflatten(F.scaled_dot_product_attention(query, key, value), 0, query_BGXYE.shape[:2])


class VivitFactorisedAttention(nn.Module):
    """Model 3, factorised self-attention: every block attends within planes and along patches, see `FactorisedBlock`.

    Source: Arnab et al. 2021, arXiv:2103.15691, section 3.3, model 3, as released: no class token, the average over
    tokens. The numbers agree with the original code in both orders.

    Args:
        config: the network's shape, of the variant "factorised_attention".
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: VivitConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        assert config.variant == "factorised_attention"
        self.config = config
        blocks = [FactorisedBlock(config, drop_path=rate) for rate in drop_rates(config, config.depth)]
        self.patch_embed = TubeletEmbed(config)
        self.encoder = _average_encoder(config, blocks)
        self.head = nn.Linear(config.width, config.num_classes)
        init_vivit_(self, config, generator)

    def position_tables(self) -> tuple[PositionTable, ...]:
        """The learned positions, one for each token of the clip."""
        return (PositionTable("encoder.pos_embed", has_class=False, grid=self.config.grid),)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        tokens_BUPD = self.patch_embed(clip_BTCHW)
        logits_BK: Tensor = self.head(self.encoder(tokens_BUPD.flatten(1, 2)))
        return logits_BK.float()


class VivitFactorisedDotProduct(nn.Module):
    """Model 4, factorised dot-product attention: model 1's blocks with heads in two halves, see `HalvedAttention`.

    Source: Arnab et al. 2021, arXiv:2103.15691, section 3.3, model 4, as released: no class token, the average over
    tokens. The numbers agree with the original code.

    Args:
        config: the network's shape, of the variant "factorised_dot_product".
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: VivitConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        assert config.variant == "factorised_dot_product"
        self.config = config
        blocks = [
            VivitBlock(
                config.width,
                HalvedAttention(config.width, config.heads, config.grid[0]),
                mlp_width=config.mlp_width,
                norm_eps=config.norm_eps,
                drop_path=rate,
            )
            for rate in drop_rates(config, config.depth)
        ]
        self.patch_embed = TubeletEmbed(config)
        self.encoder = _average_encoder(config, blocks)
        self.head = nn.Linear(config.width, config.num_classes)
        init_vivit_(self, config, generator)

    def position_tables(self) -> tuple[PositionTable, ...]:
        """The learned positions, one for each token of the clip."""
        return (PositionTable("encoder.pos_embed", has_class=False, grid=self.config.grid),)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        tokens_BUPD = self.patch_embed(clip_BTCHW)
        logits_BK: Tensor = self.head(self.encoder(tokens_BUPD.flatten(1, 2)))
        return logits_BK.float()


def _average_encoder(config: VivitConfig, blocks: Iterable[nn.Module]) -> TokenEncoder:
    planes, rows, columns = config.grid
    return TokenEncoder(planes * rows * columns, config.width, blocks=blocks, has_class=False, norm_eps=config.norm_eps)
