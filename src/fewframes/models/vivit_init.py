"""An image ViT's tensors come in, those that a ViViT starts from go out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from fewframes.errors import UsageError
from fewframes.models.checks import check_choice
from fewframes.models.vivit_config import VivitConfig

__all__ = ["image_vit_to_vivit", "inflate_kernel", "new_in_vivit", "zoom_positions"]

TubeletInit = Literal["central_frame", "inflate", "random"]
ZeroInit = Literal["output", "all", "none"]


def image_vit_to_vivit(
    tensors: Mapping[str, Tensor],
    config: VivitConfig,
    *,
    tubelet_init: TubeletInit = "central_frame",
    zero_init: ZeroInit = "output",
    image_grid: tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """Start a ViViT from an image ViT, as the paper's section 3.4 and the original code do.

    Positions are fitted to the network's grid in space and, where one table covers the clip, repeated for every plane.
    Model 2 takes the image model as its encoder over space; its encoder over time stays new. Models 3 and 4 have no
    class token.

    Where we part from the original code, because a user would want it: model 2 gets the image's class token (there it
    stays 0, since its name is another), and the norm before model 3's attention over time gets the values of the one
    before its attention over space (there it stays new).

    Args:
        tensors: of a ViT, in timm's names.
        config: of the network to be filled.
        tubelet_init: "central_frame": the image's kernel at frame t // 2 and 0 elsewhere; "inflate": t copies, divided
            by t; "random": the tokeniser stays new.
        zero_init: model 3's attention over time. "output": a copy of the image's behind an output projection of 0, so
            that it has no effect at first and learns. "all": every weight 0, as the paper words it, which never
            learns: with values and output projection both 0, neither gets a gradient. "none": the whole copy, which
            is the original code's default.
        image_grid: (rows, columns) of the image ViT's positions; None means a square.

    Returns:
        Tensors in our names, without a head. See `new_in_vivit` for what is left out. What has no place keeps its name.

    Raises:
        UsageError: positions are no square and no `image_grid` is given, or an option is unknown.
    """
    choices = SimpleNamespace(tubelet_init=tubelet_init, zero_init=zero_init)
    check_choice(choices, "tubelet_init", get_args(TubeletInit))
    check_choice(choices, "zero_init", get_args(ZeroInit))
    result = {}
    for name, value in tensors.items():
        if name == "patch_embed.proj.weight":
            if tubelet_init != "random":
                result[name] = inflate_kernel(value, config.tubelet_frames, tubelet_init)
        elif name == "patch_embed.proj.bias":
            if tubelet_init != "random":
                result[name] = value
        elif name == "pos_embed":
            result["encoder.pos_embed"] = _positions(value, config, image_grid)
        elif name == "cls_token":
            if config.variant in ("spacetime", "factorised_encoder"):
                result["encoder.cls_token"] = value
        elif name.startswith(("blocks.", "norm.")):
            result[f"encoder.{name}"] = value
        elif not name.startswith("head."):
            result[name] = value
    if config.variant == "factorised_attention":
        result |= _attention_over_time(tensors, zero_init)
    return result


def new_in_vivit(tubelet_init: TubeletInit = "central_frame") -> tuple[str, ...]:
    """Prefixes of the tensors that `image_vit_to_vivit` leaves out, which stay newly initialised."""
    return ("temporal.", "patch_embed.") if tubelet_init == "random" else ("temporal.",)


def inflate_kernel(kernel_DCHW: Tensor, num_frames: int, how: Literal["central_frame", "inflate"]) -> Tensor:
    """A kernel over `num_frames` frames from one over an image: (D, C, H, W) -> (D, C, t, H, W).

    Source: Arnab et al. 2021, equations 8 and 9, with the original code's index of the central frame, t // 2.
    """
    copies_DCTHW = kernel_DCHW.unsqueeze(2).repeat(1, 1, num_frames, 1, 1)
    if how == "inflate":
        return copies_DCTHW / num_frames
    central_DCTHW = torch.zeros_like(copies_DCTHW)
    central_DCTHW[:, :, num_frames // 2] = kernel_DCHW
    return central_DCTHW


def zoom_positions(
    positions_1ND: Tensor, old_grid: tuple[int, int, int], new_grid: tuple[int, int, int], *, has_class: bool = True
) -> Tensor:
    """Interpolate positions linearly along each axis, corner on corner, as the original code does.

    Args:
        positions_1ND: (1, has_class + t * rows * columns, D), t-major, then rows, then columns.
        old_grid: (t, rows, columns) of it.
        new_grid: (t, rows, columns) of the result.
        has_class: whether the class token's position comes first; it is kept.
    """
    if old_grid == new_grid:
        return positions_1ND
    first = int(has_class)
    grid = torch.unflatten(positions_1ND[:, first:].float().transpose(1, 2), 2, old_grid)
    zoomed = F.interpolate(grid, size=new_grid, mode="trilinear", align_corners=True)
    return torch.cat([positions_1ND[:, :first].float(), zoomed.flatten(2).transpose(1, 2)], dim=1)


def _positions(positions_1ND: Tensor, config: VivitConfig, image_grid: tuple[int, int] | None) -> Tensor:
    """An image ViT's positions for the network's encoder over space, or over the whole clip."""
    patches = positions_1ND.shape[1] - 1
    rows, columns = image_grid or (math.isqrt(patches), math.isqrt(patches))
    if rows * columns != patches:
        raise UsageError(
            f"the image ViT has {patches} positions, which are not {rows}x{columns}; "
            "give its (rows, columns) as image_grid"
        )
    planes, *space = config.grid
    table_1SD = zoom_positions(positions_1ND, (1, rows, columns), (1, space[0], space[1]))
    if config.variant == "factorised_encoder":
        return table_1SD
    tiled_1ND = table_1SD[:, 1:].repeat(1, planes, 1)
    return torch.cat([table_1SD[:, :1], tiled_1ND], dim=1) if config.variant == "spacetime" else tiled_1ND


def _attention_over_time(tensors: Mapping[str, Tensor], zero_init: ZeroInit) -> dict[str, Tensor]:
    """Model 3's second attention and its norm, from the image's."""
    result = {}
    for name, value in tensors.items():
        block, _, rest = name.partition(".attn.")
        if rest:
            zero = zero_init == "all" or (zero_init == "output" and rest.startswith("proj."))
            result[f"encoder.{block}.temporal_attn.{rest}"] = torch.zeros_like(value) if zero else value.clone()
        block, _, rest = name.partition(".norm1.")
        if rest:
            result[f"encoder.{block}.temporal_norm1.{rest}"] = value.clone()
    return result
