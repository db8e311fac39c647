"""Training clips come in; a picture of the first that a network will see goes out, for a look before it learns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from torch import Tensor

from fewframes.data.dataset import TrainingClips
from fewframes.data.loader import load_batches

__all__ = ["contact_sheet_of", "write_first_batch"]

_NAME, _ROWS = "first_batch.png", 8


def contact_sheet_of(clips: TrainingClips, labels: Sequence[str], count: int = _ROWS) -> tuple[list[Tensor], list[str]]:
    """What belongs on a contact sheet: the first clips of the first epoch, just as training will draw them.

    Args:
        clips: the run's.
        labels: class names in label-index order.
        count: how many clips to look at; those that cannot be read are left out.

    Returns:
        The clips, (T, 3, H, W) uint8 after crop and colours and before their values are normalised or mixed; and for
        each its label, the one that it is trained with.
    """
    pixels, titles = [], []
    for batch in islice(load_batches(clips, epoch=0, batch_size=1, workers=0), count):
        if len(batch.labels):
            pixels.append(batch.clips[0])
            titles.append(labels[int(batch.labels[0])])
    return pixels, titles


def write_first_batch(clips: TrainingClips, labels: Sequence[str], folder: Path) -> Path | None:
    """Write first_batch.png into a run's folder; None if none of the first 8 clips can be read.

    Raises:
        UsageError: the file cannot be written, or the videos' parts are wrong.
    """
    from fewframes.report.contact_sheet import write_contact_sheet  # and so matplotlib, which else training needs not

    pixels, titles = contact_sheet_of(clips, labels)
    return write_contact_sheet(folder / _NAME, pixels, titles) if pixels else None
