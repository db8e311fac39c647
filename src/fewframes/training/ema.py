"""A network's weights come in after each step, their moving average is kept; it can take the network's place."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of a network's weights.

    Each update moves every weight `average` to `d * average + (1 - d) * weight`, starting from the weights at
    construction. Numbers in buffers (the running means and variances of batch norms) are averaged as well, since the
    averaged weights have statistics of their own, or copied; integers in buffers are always copied. Memory: one more
    copy of the network, and another one while it takes the network's place.

    Args:
        model: whose weights; on the device where the average is to be.
        decay: d, 0 to 1 (exclusive); the average looks back over about 1 / (1 - d) updates.
        warm_up: whether the n-th update, counted from 1, takes `min(decay, (1 + n) / (10 + n))`: without, a short run
            ends with much of its random start in the average.
        buffers: "average" as timm does, or "copy" as torch's `AveragedModel` does unless told otherwise.

    Raises:
        UsageError: `decay` is out of range.

    Source: decay 0.9997 in ASL (Ben-Baruch et al. 2020); the warm-up is that of TensorFlow's
        `ExponentialMovingAverage`, whose count may begin at 0.
    """

    def __init__(
        self,
        model: nn.Module,
        decay: float = 0.9997,
        *,
        warm_up: bool = False,
        buffers: Literal["average", "copy"] = "average",
    ) -> None:
        if not 0 <= decay < 1:
            raise UsageError(f"decay is {decay}; expected 0 to below 1, such as 0.9997")
        self.decay, self.warm_up = decay, warm_up
        self.num_updates = 0
        tensors = model.state_dict()
        weights = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        self._averaged = frozenset(
            name
            for name, tensor in tensors.items()
            if tensor.is_floating_point() and (name in weights or buffers == "average")
        )
        self._average = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self._in_place = False

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step; a batch without a step is no update.

        Raises:
            UsageError: the network has other tensors than the one that the average was made for.
        """
        assert not self._in_place, "the average cannot be updated while it is in the network's place"
        tensors = self._tensors_of(model)
        self.num_updates += 1
        decay = self.decay_at(self.num_updates)
        for name, average in self._average.items():
            if name in self._averaged:
                average.lerp_(tensors[name].to(average), 1 - decay)
            else:
                average.copy_(tensors[name])

    def decay_at(self, update: int) -> float:
        """The decay of an update, counted from 1."""
        return min(self.decay, (1 + update) / (10 + update)) if self.warm_up else self.decay

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Generator[None]:
        """Give the network the averaged weights inside a `with`; afterwards it has its own again, bit for bit.

        Tensors keep their places in memory, so an optimiser and a wrapped network see the same change. What happens to
        the network inside, such as batch norms in training mode, is lost.
        """
        assert not self._in_place, "the average is in the network's place already"
        tensors = self._tensors_of(model)
        own = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self._in_place = True
        try:
            _copy_into(tensors, self._average)
            yield
        finally:
            _copy_into(tensors, own)
            self._in_place = False

    def state_dict(self) -> dict[str, Any]:
        """What a run that is taken up again needs: "num_updates" and "average", by the network's names.

        The tensors are the average itself, not copies, as in `nn.Module.state_dict`. The settings are not in it.
        """
        return {"num_updates": self.num_updates, "average": dict(self._average)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up `state_dict()`; the following updates have the same bits as without the interruption.

        Raises:
            UsageError: the state belongs to another network, or something is missing.
        """
        if set(state) != {"num_updates", "average"}:
            raise UsageError(f"state of the averaged weights has {sorted(state)}; expected average, num_updates")
        self._check(state["average"], "the state of the averaged weights")
        _copy_into(self._average, state["average"])
        self.num_updates = int(state["num_updates"])

    def _tensors_of(self, model: nn.Module) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = model.state_dict()
        self._check(tensors, "the network")
        return tensors

    def _check(self, tensors: Mapping[str, Tensor], what: str) -> None:
        wrong = sorted(
            name
            for name in self._average.keys() | tensors.keys()
            if name not in tensors or name not in self._average or tensors[name].shape != self._average[name].shape
        )
        if wrong:
            listed = ", ".join(wrong[:3])
            raise UsageError(f"{what} differs from the averaged one in {len(wrong)} tensors ({listed}); use the same")


@torch.no_grad()
def _copy_into(targets: Mapping[str, Tensor], sources: Mapping[str, Tensor]) -> None:
    for name, target in targets.items():
        target.copy_(sources[name])
