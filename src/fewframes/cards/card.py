"""What the catalogue knows of a model: one record, plain facts with their sources."""

from __future__ import annotations

from dataclasses import dataclass

from fewframes.models.checks import ModelConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["ModelCard", "Published", "QuotedCard"]

# Licences that let everybody use weights in a product.
_PERMISSIVE = frozenset({"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause"})


@dataclass(frozen=True)
class Published:
    """One published result.

    Attributes:
        dataset: such as "Kinetics-400".
        metric: such as "top-1", "top-5", "mAP", "action top-1".
        percent: 0 to 100.
        views: clips x crops that were averaged, such as "1x1" or "10x3"; "" where the source does not say.
        source: who says so and where, such as "paper, Table 4".
    """

    dataset: str
    metric: str
    percent: float
    views: str
    source: str


@dataclass(frozen=True)
class ModelCard:
    """What the catalogue knows of a model.

    Attributes:
        name: the catalogue's name.
        family: such as "stam" or "x3d".
        config: the network's shape.
        sampling: which frames it looks at.
        preprocess: how frames become its input.
        labels: name of the official label list of its classes, such as "kinetics400"; "" if there is none here.
        source: paper and code.
        code_licence: of the original code, an SPDX name; the code here is our own.
        weights_licence: of the published weights, an SPDX name; "" if none were published.
        weights_url: where the published weights are; None if none were published.
        published: results as published.
        views: clips and crops of the published result.
        num_parameters: of the network as the card describes it; None once the shape was changed.
        gmacs: 1e9 multiply-adds of one view of the card's size, with the products inside attention; None as above.
        gmacs_without_attention_products: only convolutions and linear layers.
        output: what the original network gives; here every network gives logits.
        notes: what a reader should know.
    """

    name: str
    family: str
    config: ModelConfig
    sampling: Sampling
    preprocess: Preprocess
    labels: str
    source: str
    code_licence: str
    weights_licence: str = ""
    weights_url: str | None = None
    published: tuple[Published, ...] = ()
    views: tuple[int, int] = (1, 1)
    num_parameters: int | None = None
    gmacs: float | None = None
    gmacs_without_attention_products: float | None = None
    output: str = "logits"
    notes: str = ""

    @property
    def commercial(self) -> bool:
        """Whether a product may use it: our code always may, published weights only under such a licence."""
        return self.weights_licence in ("", *_PERMISSIVE)


@dataclass(frozen=True)
class QuotedCard:
    """A system that others compare with and that cannot be built here.

    Attributes:
        name: the catalogue's name.
        source: paper.
        published: results as published, or as quoted by the paper that compares with it.
        reason: why it cannot be built, a sentence.
        num_parameters: as published; None if it is not.
        gmacs: of one view, as published (papers call them FLOPs); None if it is not.
        views: clips and crops of the published result; None if the source does not say.
    """

    name: str
    source: str
    published: tuple[Published, ...]
    reason: str
    num_parameters: int | None = None
    gmacs: float | None = None
    views: tuple[int, int] | None = None
