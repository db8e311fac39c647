"""A trained model comes in, answers about video files go out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewframes.architectures import build_from_config
from fewframes.catalog import ModelOption, adapted_card, card_of
from fewframes.classes import official_labels
from fewframes.data.reading import read_frames, shown_name
from fewframes.errors import UsageError
from fewframes.metrics import top_k as best_classes
from fewframes.records import DecodeOptions, Prediction, Sampling
from fewframes.verb_noun import split_verb_noun, top_actions
from fewframes.video.source import VideoSource
from fewframes.video.transforms import preprocess
from fewframes.weights.checkpoint import CheckpointInfo, load_checkpoint
from fewframes.weights.download import find_weights
from fewframes.weights.loading import LoadReport, load_weights

__all__ = ["Classifier"]

_EXACT = DecodeOptions()


class Classifier:
    """A network with everything needed to use it on files: which frames, which transform, which class names.

    Clips go through the network one at a time: the frames of one clip already fill the hardware, and a video's logits
    then never depend on what else is classified with it. Prediction, evaluation and validation during training all
    come here, so for the same file and weights their logits are equal bit for bit.

    Attributes:
        info: the model's record.
        device: where the network runs.
        load_report: what became of foreign weights; None for one of our own checkpoints.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        info: CheckpointInfo,
        *,
        device: str | torch.device = "cpu",
        load_report: LoadReport | None = None,
    ) -> None:
        self.model = model.to(device)
        self.info = info
        self.device = torch.device(device)
        self.load_report = load_report

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        weights: str | Path | None = None,
        device: str | torch.device = "cpu",
        **options: ModelOption,
    ) -> Classifier:
        """Load a checkpoint folder, or a model of the catalogue with weights from anywhere.

        Args:
            source: a folder that training wrote, which needs nothing else; or a catalogue name.
            weights: for a catalogue name, a file or the catalogue name of published weights; by default the published
                weights of that very model, downloaded once.
            device: such as "cpu" or "cuda".
            options: for a catalogue name, changes to its shape, see `fewframes.build_model`.

        Raises:
            InvalidCheckpoint: the weights are missing, damaged, or do not fit.
            UnknownName: neither a folder nor a catalogue name; the nearest name is suggested.
            DownloadFailed: published weights could not be fetched.
        """
        if Path(source).is_dir():
            if weights is not None or options:
                raise UsageError(f"{source} is a checkpoint, which states its own weights and shape; leave options out")
            model, info = load_checkpoint(source)
            return cls(model, info, device=device)
        if str(source).count("/") or str(source).endswith((".pth", ".pt", ".safetensors")):
            raise UsageError(
                f"{source} is not a checkpoint folder; expected one that training wrote, "
                "or a catalogue name together with weights=FILE"
            )
        card = adapted_card(card_of(str(source)).name, **options)
        path = find_weights(weights if weights is not None else card.name)
        network = build_from_config(card.config)
        report = load_weights(network, path)
        if report.newly_initialised:
            raise UsageError(
                f"{path} leaves {len(report.newly_initialised)} tensors of {source} untrained "
                f"({report.newly_initialised[0]}, ...); train them first, or give num_classes as in the file"
            )
        info = CheckpointInfo(
            name=card.name,
            config=card.config,
            sampling=card.sampling,
            preprocess=card.preprocess,
            labels=_labels_for(card.labels, card.config.num_classes),
            provenance={"weights": str(path), "report": report.summary()},
        )
        return cls(network.eval(), info, device=device, load_report=report)

    def with_official_sampling(self) -> Classifier:
        """The same model looking at the frames of the STAM release: num_frames / 10 a second from the start.

        For comparing with its published figures. Videos shorter than 10 seconds are refused.
        """
        num_frames = self.info.sampling.num_frames
        sampling = Sampling("official", num_frames, frames_per_second=num_frames / 10)
        info = replace(self.info, sampling=sampling)
        return Classifier(self.model, info, device=self.device, load_report=self.load_report)

    def predict(
        self,
        source: VideoSource,
        *,
        top_k: int = 5,
        attention: bool = False,
        start: float | None = None,
        end: float | None = None,
        decode: DecodeOptions = _EXACT,
    ) -> Prediction:
        """Classify one video, or a part of it.

        Args:
            source: path, address, bytes, or a binary file object.
            top_k: how many classes to name, at most all of them. A network with a head for nouns and verbs names
                actions, pairs such as "verb:take noun:tap", by the product of the two probabilities.
            attention: whether to say how much each frame was attended to.
            start: seconds; only frames from here on count. None: from the first.
            end: seconds; only frames before this count. None: to the last.
            decode: how to decode.

        Raises:
            UnreadableVideo: the source is no video, is damaged, cannot be opened, or ends before `start`.
            UsageError: the part is not 0 <= start < end, or the decode options do not fit together.
        """
        reading = read_frames(source, self.info.sampling, start=start, end=end, decode=decode)
        frames = reading.frames
        logits_K, weights_T = self.run(preprocess(frames.pixels, self.info.preprocess), attention=attention)
        labels, scores = self._best(logits_K, top_k)
        return Prediction(
            path=shown_name(source) if isinstance(source, str | Path) else "<bytes>",
            labels=labels,
            scores=scores,
            frame_indices=frames.indices,
            frame_seconds=tuple(frames.seconds.tolist()),
            logits=tuple(logits_K.tolist()),
            frame_attention=None if weights_T is None else tuple(weights_T.tolist()),
            start=start,
            end=end,
            bytes_read=reading.bytes_read,
            size_bytes=reading.info.size_bytes,
        )

    def _best(self, logits_K: Tensor, k: int) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """The likeliest classes and their probabilities; of a head for nouns and verbs, the likeliest pairs."""
        names, splits = self.info.labels, getattr(self.info.config, "class_splits", None)
        if splits is None:
            indices, scores_K = best_classes(logits_K, min(k, len(names)))
            return tuple(names[index] for index in indices), tuple(scores_K.tolist())
        if len(splits) != 2:
            raise UsageError(f"{self.info.name} has {len(splits)} sets of classes; expected one, or nouns and verbs")
        num_nouns, num_verbs = splits
        parts = split_verb_noun(logits_K.unsqueeze(0), num_nouns=num_nouns, num_verbs=num_verbs)
        pairs, scores_1K = top_actions(parts.verb, parts.noun, k)
        verbs, nouns = pairs.verb[0].tolist(), pairs.noun[0].tolist()
        best = tuple(f"{names[num_nouns + verb]} {names[noun]}" for verb, noun in zip(verbs, nouns, strict=True))
        return best, tuple(scores_1K[0].tolist())

    @torch.inference_mode()
    def run(self, clip_TCHW: Tensor, *, attention: bool = False) -> tuple[Tensor, Tensor | None]:
        """The network alone: a preprocessed clip (T, 3, H, W) float32 -> (K,) float32 logits on the CPU.

        With `attention`, also the (T,) attention of the class token to each frame, which sums to 1.

        Raises:
            UsageError: `attention` of a network that does not look at frames one by one.
        """
        if attention and not hasattr(self.model, "frame_weights"):
            raise UsageError(
                f"{self.info.name} does not encode frames one by one, so it has no attention to frames; "
                "use a STAM, or leave attention out"
            )
        was_training = self.model.training
        self.model.eval()
        try:
            model: Any = self.model
            clip_1TCHW, weights_T = clip_TCHW.unsqueeze(0).to(self.device), None
            if attention:
                frames_1TD = model.embed_frames(clip_1TCHW)
                logits_K = model.classify(frames_1TD)[0].cpu()
                weights_T = model.frame_weights(frames_1TD)[0].cpu()
            else:
                logits_K = model(clip_1TCHW)[0].cpu()
        finally:
            self.model.train(was_training)
        return logits_K, weights_T


def _labels_for(list_name: str, num_classes: int) -> tuple[str, ...]:
    """The official names if their number fits, otherwise numbered stand-ins."""
    labels = official_labels(list_name) if list_name else ()
    return labels if len(labels) == num_classes else tuple(f"class {index}" for index in range(num_classes))
