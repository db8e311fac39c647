"""Frame encoders of timm: a name comes in, a network (F, 3, H, W) -> (F, D) and the transform it expects go out."""

from __future__ import annotations

import difflib
import math
from typing import Any

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_image_size, seeded
from fewframes.models.positions import PositionTable
from fewframes.records import Preprocess

__all__ = ["TimmEncoder", "check_timm_name", "timm_preprocess"]


class TimmEncoder(nn.Module):
    """An image model of timm without its classifier: what it would classify is the frame's embedding.

    Batch norms, which convolutional encoders have, see the frames of all clips of a batch as one batch: statistics
    are over B * T frames, and frames of one video resemble each other. With few clips a step they are noisy, and a
    model that starts from trained weights may do better with its norms in eval mode.

    Args:
        name: of timm, such as "resnet50", or with the tag of its weights, "vit_base_patch16_clip_224.openai"; only
            the shape is used, no weights are fetched.
        image_size: (height, width) in pixels; models that are built for one size are built for this one.
        drop_path: stochastic depth, as the model spreads it over its blocks.
        generator: where the weights are drawn from; None means torch's global generator.

    Attributes:
        net: timm's module; the names of its tensors are those of timm's files.
        width: D, the model's own.

    Raises:
        UsageError: timm has no such model, or cannot build it for this size.
    """

    def __init__(
        self,
        name: str,
        image_size: tuple[int, int],
        *,
        drop_path: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.net = _build(name, image_size, drop_path=drop_path, generator=generator)
        # Some models widen their features once more before the classifier.
        width: Any = getattr(self.net, "head_hidden_size", None) or self.net.num_features
        self.width = int(width)
        self._check_patches(image_size)

    def forward(self, frames_FCHW: Tensor) -> Tensor:
        """(F, 3, H, W) float, normalised as `timm_preprocess` says -> (F, D)."""
        output: Tensor = self.net(frames_FCHW)
        if output.ndim != 2:
            raise UsageError(
                f"{self.name} gives {tuple(output.shape)} for {frames_FCHW.shape[0]} frames; "
                f"expected one vector of {self.width} numbers a frame: choose an encoder that pools"
            )
        return output

    def _check_patches(self, image_size: tuple[int, int]) -> None:
        """Raise unless the frame is whole patches: timm would leave what is over out without a word."""
        patch = getattr(getattr(self.net, "patch_embed", None), "patch_size", None)
        if isinstance(patch, tuple) and patch[0] == patch[-1]:
            check_image_size(image_size, patch[0], of=f"{self.name}'s patches")

    def position_tables(self, prefix: str) -> tuple[PositionTable, ...]:
        """The learned positions of patches if the model has a ViT's table of them; names get the prefix."""
        positions, patches = getattr(self.net, "pos_embed", None), getattr(self.net, "patch_embed", None)
        grid = getattr(patches, "grid_size", None)
        if not isinstance(positions, nn.Parameter) or positions.ndim != 3 or grid is None:
            return ()
        rows, columns = grid
        before = positions.shape[1] - rows * columns
        if before not in (0, 1):
            return ()
        return (PositionTable(f"{prefix}net.pos_embed", has_class=before == 1, grid=(1, rows, columns)),)


def timm_preprocess(name: str, image_size: tuple[int, int]) -> Preprocess:
    """The transform that a model of timm was trained with, for frames of another size if need be.

    Mean, std, interpolation and the share of the picture that the crop covers are those of its weights: of the tag, if
    the name has one, else of timm's default weights. The short side is resized to the crop's longer side over that
    share, rounded down; models that saw squeezed pictures get squeezed frames.

    Args:
        name: of timm, with or without the tag of its weights.
        image_size: (height, width) in pixels.

    Raises:
        UsageError: timm has no such model.
    """
    stated = _pretrained_cfg(name)
    squeezed = stated.crop_mode == "squash" and stated.crop_pct == 1.0
    return Preprocess(
        crop=image_size,
        resize_short=None if squeezed else max(max(image_size), math.floor(max(image_size) / stated.crop_pct)),
        mean=tuple(stated.mean),
        std=tuple(stated.std),
        interpolation=stated.interpolation,
    )


def check_timm_name(name: str) -> None:
    """Raise `UsageError`, with the nearest names, unless timm has this model and, if a tag is named, its weights."""
    from timm.models import is_model, list_models, list_pretrained

    architecture, dot, tag = name.partition(".")
    if not is_model(architecture):
        raise _unknown("encoder", name, list_models(), "timm.list_models()")
    if dot:
        tags = [each.partition(".")[2] for each in list_pretrained(f"{architecture}.*")]
        if tag not in tags:
            raise _unknown(f"weights of {architecture}", tag, tags, f"timm.list_pretrained('{architecture}')")


def _unknown(kind: str, name: str, known: list[str], lister: str) -> UsageError:
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.0)
    return UsageError(f"timm has no {kind} {name!r}; the nearest are {', '.join(near) or 'none'} ({lister} names all)")


def _pretrained_cfg(name: str) -> Any:  # noqa: ANN401  # timm's record
    from timm.models import PretrainedCfg, get_pretrained_cfg

    check_timm_name(name)
    return get_pretrained_cfg(name) or PretrainedCfg()


def _build(name: str, image_size: tuple[int, int], *, drop_path: float, generator: torch.Generator | None) -> nn.Module:
    from timm import create_model

    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    if _pretrained_cfg(name).fixed_input_size:
        options["img_size"] = image_size
    try:
        with seeded(generator):
            net: nn.Module = create_model(name, pretrained=False, num_classes=0, **options)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        size = "x".join(map(str, image_size))
        raise UsageError(
            f"timm cannot build {name} for frames of {size} pixels with drop_path={drop_path:g} ({error}); "
            "choose a size that it takes, or another encoder"
        ) from error
    return net
