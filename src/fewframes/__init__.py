"""fewframes: recognise actions in video from a handful of frames. A video file comes in, class names go out."""

from __future__ import annotations

from importlib import import_module

__all__ = [
    "CheckpointInfo",
    "Classifier",
    "EvaluationReport",
    "Frames",
    "LoadReport",
    "Manifest",
    "Prediction",
    "Preprocess",
    "Sampling",
    "TrainConfig",
    "VideoInfo",
    "build_model",
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
    "CheckpointInfo": "fewframes.weights.checkpoint",
    "Classifier": "fewframes.predict",
    "EvaluationReport": "fewframes.records",
    "Frames": "fewframes.records",
    "LoadReport": "fewframes.weights.loading",
    "Manifest": "fewframes.data.manifest",
    "Prediction": "fewframes.records",
    "Preprocess": "fewframes.records",
    "Sampling": "fewframes.records",
    "TrainConfig": "fewframes.training.config",
    "VideoInfo": "fewframes.records",
    "build_model": "fewframes.catalog",
    "evaluate": "fewframes.evaluate",
    "list_models": "fewframes.catalog",
    "load_checkpoint": "fewframes.weights.checkpoint",
    "load_clip": "fewframes.video.clip",
    "load_weights": "fewframes.weights.loading",
    "official_indices": "fewframes.video.sampling",
    "open_video": "fewframes.video.reader",
    "preprocess": "fewframes.video.transforms",
    "random_in_segment_indices": "fewframes.video.sampling",
    "read_manifest": "fewframes.data.manifest",
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
