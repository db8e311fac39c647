"""fewframes: recognise actions in video from a handful of frames. A video file comes in, class names go out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewframes import errors as errors
    from fewframes.cards.card import ModelCard as ModelCard
    from fewframes.catalog import build_model as build_model
    from fewframes.catalog import card_of as card_of
    from fewframes.catalog import list_models as list_models
    from fewframes.data.manifest import Manifest as Manifest
    from fewframes.data.manifest_io import read_manifest as read_manifest
    from fewframes.evaluation import evaluate as evaluate
    from fewframes.predict import Classifier as Classifier
    from fewframes.records import BadVideoPolicy as BadVideoPolicy
    from fewframes.records import DecodeOptions as DecodeOptions
    from fewframes.records import EvaluationReport as EvaluationReport
    from fewframes.records import Frames as Frames
    from fewframes.records import Limits as Limits
    from fewframes.records import Prediction as Prediction
    from fewframes.records import Preprocess as Preprocess
    from fewframes.records import Sampling as Sampling
    from fewframes.records import VideoInfo as VideoInfo
    from fewframes.training.config import TrainConfig as TrainConfig
    from fewframes.training.loop import train as train
    from fewframes.video.clip import load_clip as load_clip
    from fewframes.video.reader import open_video as open_video
    from fewframes.video.sampling import official_indices as official_indices
    from fewframes.video.sampling import random_in_segment_indices as random_in_segment_indices
    from fewframes.video.sampling import sample_indices as sample_indices
    from fewframes.video.sampling import uniform_indices as uniform_indices
    from fewframes.video.synthetic import synthesize as synthesize
    from fewframes.video.transforms import preprocess as preprocess
    from fewframes.weights.checkpoint import CheckpointInfo as CheckpointInfo
    from fewframes.weights.checkpoint import load_checkpoint as load_checkpoint
    from fewframes.weights.checkpoint import save_checkpoint as save_checkpoint
    from fewframes.weights.convert import convert as convert
    from fewframes.weights.loading import LoadReport as LoadReport
    from fewframes.weights.loading import load_weights as load_weights

__all__ = [
    "BadVideoPolicy",
    "CheckpointInfo",
    "Classifier",
    "DecodeOptions",
    "EvaluationReport",
    "Frames",
    "Limits",
    "LoadReport",
    "Manifest",
    "ModelCard",
    "Prediction",
    "Preprocess",
    "Sampling",
    "TrainConfig",
    "VideoInfo",
    "build_model",
    "card_of",
    "convert",
    "errors",
    "evaluate",
    "list_models",
    "load_checkpoint",
    "load_clip",
    "load_weights",
    "official_indices",
    "open_video",
    "preprocess",
    "random_in_segment_indices",
    "read_manifest",
    "sample_indices",
    "save_checkpoint",
    "synthesize",
    "train",
    "uniform_indices",
]

__version__ = "0.1.0"

# Where each public name lives. They are imported when they are first used, so that `import fewframes` takes
# milliseconds and the command line can answer `--help` without torch.
_HOMES = {
    "BadVideoPolicy": "fewframes.records",
    "CheckpointInfo": "fewframes.weights.checkpoint",
    "Classifier": "fewframes.predict",
    "DecodeOptions": "fewframes.records",
    "EvaluationReport": "fewframes.records",
    "Frames": "fewframes.records",
    "Limits": "fewframes.records",
    "LoadReport": "fewframes.weights.loading",
    "Manifest": "fewframes.data.manifest",
    "ModelCard": "fewframes.cards.card",
    "Prediction": "fewframes.records",
    "Preprocess": "fewframes.records",
    "Sampling": "fewframes.records",
    "TrainConfig": "fewframes.training.config",
    "VideoInfo": "fewframes.records",
    "build_model": "fewframes.catalog",
    "card_of": "fewframes.catalog",
    "convert": "fewframes.weights.convert",
    "evaluate": "fewframes.evaluation",
    "list_models": "fewframes.catalog",
    "load_checkpoint": "fewframes.weights.checkpoint",
    "load_clip": "fewframes.video.clip",
    "load_weights": "fewframes.weights.loading",
    "official_indices": "fewframes.video.sampling",
    "open_video": "fewframes.video.reader",
    "preprocess": "fewframes.video.transforms",
    "random_in_segment_indices": "fewframes.video.sampling",
    "read_manifest": "fewframes.data.manifest_io",
    "sample_indices": "fewframes.video.sampling",
    "save_checkpoint": "fewframes.weights.checkpoint",
    "synthesize": "fewframes.video.synthetic",
    "train": "fewframes.training.loop",
    "uniform_indices": "fewframes.video.sampling",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name == "errors":
        return import_module("fewframes.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'fewframes' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*__all__, "__version__"])
