"""What the verbs that load models share: names and options come in, a classifier goes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewframes.catalog import parse_options
from fewframes.errors import UsageError
from fewframes.predict import Classifier

__all__ = ["load_classifier"]


def load_classifier(model: str, *, weights: str, options: Sequence[str], device: str) -> Classifier:
    """Load a checkpoint or a catalogue model for use."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"--device {device} cannot be used here ({reason}); try --device cpu") from error
    if options and Path(model).is_dir():
        raise UsageError(f"{model} is a checkpoint, which states its own shape; leave options out")
    changes = parse_options(model, options) if options else {}
    return Classifier.load(model, weights=weights or None, device=device, **changes)
