"""Measures what the README states: costs, parity with the STAM release, the demo, and a run on real video.

    python benchmarks/first_light.py                        all parts that the machine has data for
    python benchmarks/first_light.py --parts cost parity    some of them

"demo" clones the repository, and so measures what is committed; KEEP_REPORT=FILE keeps its page.
Writes benchmarks/results/DATE-first-light.json (parts already in today's file are kept) and prints it as one line.
Real video is looked for in $FEWFRAMES_DATA/ucf6 (six classes of UCF101, manifest.csv); without it that part says so.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch

import fewframes as ff
from fewframes.benchmark import measure_cost
from fewframes.recipes import RECIPES
from fewframes.report.serial import write_atomically
from fewframes.training.config import AugmentConfig, DataConfig, TrainConfig

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parts = {"cost": cost, "parity": parity, "demo": demo, "ucf6": ucf6}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    chosen = parser.parse_args().parts
    path = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-first-light.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    for name in chosen:
        print(f"{name} ...", file=sys.stderr)
        start = time.perf_counter()
        found = parts[name]()
        result[name] = {
            "command": f"python benchmarks/first_light.py --parts {name}",
            "machine": machine(),
            "seconds": round(time.perf_counter() - start, 1),
            **found,
        }
        write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def machine() -> dict[str, object]:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            row.split(":", 1)[1].strip() for row in cpuinfo.read_text().splitlines() if row.startswith("model name")
        ]
        model = names[0] if names else model
    packages = ("fewframes", "torch", "av", "numpy", "lightning-fabric")
    return {
        "cpu": model,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def cost() -> dict[str, object]:
    rows = {}
    for name in ff.list_models():
        with torch.device("meta"):
            model = ff.build_model(name)
        found = measure_cost(model, (model.config.num_frames, 3, *model.config.image_size))
        rows[name] = {
            "parameters": found.num_parameters,
            "gmacs": found.macs / 1e9,
            "gmacs_without_attention_products": found.macs_without_attention_products / 1e9,
        }
    return {"models": rows}


def parity() -> dict[str, object]:
    """Largest difference from numbers made with the STAM release, float32; the tests' own reading of them."""
    sys.path.insert(0, str(ROOT))
    from tests.helpers.golden import STAM_FIXTURES, golden_stam

    rows = {}
    for name in STAM_FIXTURES:
        golden = golden_stam(name)
        model = golden.model()
        with torch.inference_mode():
            frames = model.embed_frames(golden.clip)
            video, logits = model.aggregate(frames), model.classify(frames)
        pairs = {
            "frame_embeddings": (frames, golden.frames),
            "video_embedding": (video, golden.video),
            "logits": (logits, golden.logits),
        }
        rows[name] = {key: float((found - expected).abs().max()) for key, (found, expected) in pairs.items()}
    return {"max_abs_difference": rows}


def demo() -> dict[str, object]:
    """`make demo` in a fresh clone with nothing installed, as a new user runs it; the time includes the install."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "fewframes"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        start = time.perf_counter()
        done = subprocess.run(["make", "demo"], cwd=clone, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        if os.environ.get("KEEP_REPORT"):
            shutil.copy(clone / "runs" / "demo" / "report.html", os.environ["KEEP_REPORT"])
    result = json.loads(done.stdout.strip().splitlines()[-1])
    return {"seconds_with_install": round(seconds, 1), "output": done.stdout.strip().splitlines(), "result": result}


def ucf6() -> dict[str, object]:
    """Train on the 529 training videos of split 1 from random weights, then evaluate once on all 202 test videos."""
    source = Path(os.environ.get("FEWFRAMES_DATA", ROOT.parent / "shared" / "data")) / "ucf6" / "manifest.csv"
    if not source.exists():
        return {"skipped": f"no ucf6/manifest.csv in $FEWFRAMES_DATA ({source.parent.name})"}
    baselines = {"first frame only": 70, "8 frames concatenated": 67, "frame differences": 49, "metadata only": 74}
    rows: dict[str, object] = {"linear_baselines_top1": baselines, "split": 1}
    for name, options in (("stam", ()), ("mean", ("aggregator=mean",))):
        recipe = RECIPES["small"]()
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(
                data=DataConfig(source=str(source), split_column="split1", val_fraction=0.0, cache_frames=32),
                model=type(recipe.model)(
                    recipe.model.name, (*recipe.model.options, *options), mean=recipe.model.mean, std=recipe.model.std
                ),
                augment=AugmentConfig(flip_probability=0.5),
                optim=recipe.optim,
                output=str(Path(folder) / "run"),
                precision=recipe.precision,
            )
            trained = ff.train(config)
            test = ff.read_manifest(source, split_column="split1").only("test")
            report = ff.evaluate(ff.Classifier.load(trained.best), test)
        rows[name] = {
            "trained_on": trained.num_train,
            "parameters": trained.num_parameters,
            "training_seconds": round(trained.seconds),
            "evaluated": report.listed.num_videos,
            "failed": len(report.failures),
            "top1": round(report.listed.top1, 2),
            "mean_class_accuracy": round(report.listed.mean_class_accuracy, 2),
        }
        print(f"{name}: {rows[name]}", file=sys.stderr)
    return rows


if __name__ == "__main__":
    main()
