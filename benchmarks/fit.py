"""Measures `fewframes fit` in mode probe: what an epoch over kept embeddings costs, and one that encodes anew.

    python benchmarks/fit.py                                   a small network, then STAM-16 at full size
    python benchmarks/fit.py --networks small --videos 100     less, or more, of it

Reads $FEWFRAMES_DATA/ucf6 (six classes of UCF101) if it is there, else videos that it writes. Weights are random: they
change no time. An epoch that encodes anew is the time to read and encode all videos once, with two reading threads,
plus that of the epoch over the embeddings. The second reading finds all embeddings on the disk.
Writes benchmarks/results/DATE-fit.json and prints it as one line.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch

from fewframes.architectures import build_from_config
from fewframes.catalog import adapted_card, parse_options
from fewframes.data.bad_videos import BadVideos
from fewframes.data.dataset import View
from fewframes.data.manifest import Manifest
from fewframes.data.manifest_io import read_manifest
from fewframes.recipes import RECIPES
from fewframes.records import BadVideoPolicy, Sampling
from fewframes.report.serial import write_atomically
from fewframes.training.config import ModelConfig
from fewframes.training.embedder import Embedded, FrameEmbedder, embed_videos
from fewframes.training.embeddings import EmbeddingCache
from fewframes.training.fit import Choice, Facts, settings_for
from fewframes.training.log import RunLog
from fewframes.training.probe import FrameData, train_probe
from fewframes.video.synthetic import synthesize
from fewframes.weights.checkpoint import CheckpointInfo

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(os.environ.get("FEWFRAMES_DATA", ROOT.parent / "shared" / "data")) / "ucf6" / "manifest.csv"
NETWORKS = {"small": RECIPES["small"]().model, "stam_16": ModelConfig(name="stam_16")}
EPOCHS, WORKERS = 3, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--videos", type=int, default=48)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos, told = listed(options.videos, Path(folder))
        result: dict[str, object] = {
            "command": f"python benchmarks/fit.py --networks {' '.join(options.networks)} --videos {options.videos}",
            "machine": machine(),
            "data": told,
            "videos": len(videos.videos),
            "classes": len(videos.labels),
        }
        for name in options.networks:
            print(f"{name} ...", file=sys.stderr)
            result[name] = measure(name, videos, Path(folder))
    path = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-fit.json"
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("fewframes", "torch", "av")},
    }


def listed(count: int, folder: Path) -> tuple[Manifest, str]:
    """So many videos of all classes in turn, and where they come from."""
    if SOURCE.exists():
        whole, told = read_manifest(SOURCE, split_column="split1").only("train"), "ucf6, training videos of split 1"
    else:
        whole, told = read_manifest(synthesize(folder / "videos", num_videos=count)), "synthesized"
    by_class = [[video for video in whole.videos if video.label == label] for label in whole.labels]
    in_turn = [videos[turn] for turn in range(len(whole.videos)) for videos in by_class if turn < len(videos)]
    return dataclasses.replace(whole, videos=tuple(in_turn[:count])), told


def measure(name: str, videos: Manifest, folder: Path) -> dict[str, object]:
    chosen = NETWORKS[name]
    options = {**parse_options(chosen.name, chosen.options), "num_classes": len(videos.labels)}
    card = adapted_card(chosen.name, **options)
    model = build_from_config(card.config, torch.Generator().manual_seed(0))
    info = CheckpointInfo(card.name, card.config, card.sampling, card.preprocess, videos.labels)
    view = View(Sampling("random_in_segment", card.config.num_frames), card.preprocess)
    embedder = FrameEmbedder(model, info, view)
    cache = EmbeddingCache(folder / name, embedder.origin())
    first, encoding = timed_embedding(embedder, videos, cache)
    again, reading_back = timed_embedding(embedder, videos, EmbeddingCache(folder / name, embedder.origin()))
    assert again.num_computed == 0 and torch.equal(first.frames_NVTD, again.frames_NVTD)

    facts = Facts(name, len(videos.videos), "random weights", True, True, True, True, False)
    config = settings_for(RECIPES["finetune"](), Choice("probe", ()), facts, epochs=EPOCHS, lr=0.0)
    labels = torch.tensor(videos.indices_of(videos.labels))
    data = FrameData(again.frames_NVTD, labels, torch.ones(len(labels)))
    with RunLog(folder / f"{name}.jsonl", total_steps=1, show=False) as log:
        train_probe(model, data, None, optim=dataclasses.replace(config.optim, epochs=1), seed=0, log=log)  # warms up
        epoch = train_probe(model, data, None, optim=config.optim, seed=0, log=log).seconds / EPOCHS
    shards = list((folder / name).rglob("*.safetensors"))
    return {
        "frames": card.config.num_frames,
        "image_size": card.config.image_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": sum(each.numel() for each in model.parameters() if each.requires_grad),
        "batch_size": config.optim.batch_size,
        "seconds_to_encode_all_videos_once": round(encoding, 2),
        "seconds_to_read_their_embeddings_back": round(reading_back, 4),
        "bytes_of_embeddings_per_video": sum(path.stat().st_size for path in shards) // len(labels),
        "seconds_of_an_epoch_over_embeddings": round(epoch, 4),
        "seconds_of_an_epoch_that_encodes_anew": round(epoch + encoding, 2),
        "times_as_fast": round((epoch + encoding) / epoch, 1),
        "at_least_50_times": (epoch + encoding) / epoch >= 50,
    }


def timed_embedding(embedder: FrameEmbedder, videos: Manifest, cache: EmbeddingCache) -> tuple[Embedded, float]:
    bad = BadVideos(BadVideoPolicy("error"), videos)
    began = time.perf_counter()
    found = embed_videos(embedder, videos, views=1, cache=cache, bad=bad, workers=WORKERS, show=True)
    return found, time.perf_counter() - began


if __name__ == "__main__":
    main()
