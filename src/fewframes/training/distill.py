"""A trained model and the clips that another one learns from come in; its answers and their loss go out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.predict import Classifier
from fewframes.training.config import TrainConfig
from fewframes.training.losses import distillation_loss
from fewframes.video.sampling import uniform_indices
from fewframes.video.transforms import resize, to_float
from fewframes.weights.checkpoint import CheckpointInfo

__all__ = ["Teacher", "open_teacher"]


class Teacher:
    """Looks at the very view that the network learns from, in its own size, colours and number of frames.

    Args:
        model: its network; frozen and in eval mode from here on.
        info: its record.
        labels: the classes of the network that learns.
        alpha: how much its answers count.
        temperature: of both softmaxes.

    Raises:
        UsageError: it does not know one of the classes, or knows more.
    """

    def __init__(
        self, model: nn.Module, info: CheckpointInfo, labels: tuple[str, ...], *, alpha: float, temperature: float
    ) -> None:
        if set(info.labels) != set(labels):
            unknown = sorted(set(labels) ^ set(info.labels))
            raise UsageError(
                f"the teacher {info.name} and the videos do not have the same classes: {', '.join(unknown[:3])} is in "
                "one of them only; train a teacher on the same list"
            )
        self.model = model.eval().requires_grad_(False)
        self.info, self.alpha, self.temperature = info, alpha, temperature
        self._order_K = torch.tensor([info.labels.index(label) for label in labels])

    def __str__(self) -> str:
        """For the line that a run begins with."""
        return f"{self.info.name}, alpha {self.alpha:g}, temperature {self.temperature:g}"

    @torch.no_grad()
    def answer(self, pixels_BTCHW: Tensor) -> Tensor:
        """Its logits about some clips.

        Args:
            pixels_BTCHW: (B, T, 3, H, W) uint8, as augmentation left them, on the teacher's device. They are resized
                to the teacher's crop; of T frames, it looks at as many as it takes, evenly spaced, some twice if T is
                less.

        Returns:
            (B, K) float32, in the order of the labels of the network that learns.
        """
        spec, count = self.info.preprocess, self.info.sampling.num_frames
        frames = uniform_indices(pixels_BTCHW.shape[1], count)
        seen_FCHW = pixels_BTCHW[:, list(frames)].flatten(0, 1)
        if tuple(seen_FCHW.shape[-2:]) != spec.crop:
            seen_FCHW = resize(seen_FCHW, spec.crop, interpolation=spec.interpolation, antialias=spec.antialias)
        clips_FCHW = to_float(seen_FCHW, spec)
        logits_BK: Tensor = self.model(clips_FCHW.reshape(-1, count, *clips_FCHW.shape[1:]))
        return logits_BK.float()[:, self._order_K.to(logits_BK.device)]

    def loss_sum(self, student_BK: Tensor, teacher_BK: Tensor, weights_B: Tensor) -> Tensor:
        """`alpha` times the divergences of some clips, each times its weight, added up: a scalar."""
        losses_B = distillation_loss(student_BK, teacher_BK, temperature=self.temperature)
        return self.alpha * (losses_B * weights_B).sum()


def open_teacher(config: TrainConfig, info: CheckpointInfo, device: torch.device) -> Teacher:
    """Load the teacher that a config names, for a network with this record.

    Raises:
        UsageError: its classes are other ones, or clips are to be mixed as well.
        InvalidCheckpoint, UnknownName: there is no such model.
    """
    distill = config.distill
    if config.mix.is_on:
        raise UsageError(
            "mix and distill cannot both be on: a teacher looks at clips as they are; leave one of them out"
        )
    classifier = Classifier.load(distill.teacher, device=device)
    return Teacher(classifier.model, classifier.info, info.labels, alpha=distill.alpha, temperature=distill.temperature)
