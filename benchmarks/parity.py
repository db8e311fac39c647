"""How far our networks are from the original code, in the numbers that it gave for tiny networks with random weights.

    python benchmarks/parity.py

Each network is loaded through its importer, strictly, and run in float32 on one thread; the differences are those of
logits. Writes benchmarks/results/DATE-parity.json and prints it as one line. Exit status 1 if a difference is above the
tolerance that its golden numbers state.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fewframes.report.serial import write_atomically
from first_light import ROOT, machine

sys.path.insert(0, str(ROOT))  # the tests' own helpers, as in first_light.py

from tests.helpers.golden import STAM_FIXTURES, golden_stam
from tests.helpers.golden_vivit import SCENIC, golden_vivit
from tests.helpers.tolerance import PARITY
from tests.parity import test_timesformer, test_videomae, test_vivit

Case = tuple[nn.Module, Tensor, Tensor]


def stam(name: str) -> Case:
    golden = golden_stam(name)
    return golden.model(), golden.clip, golden.logits


def vivit(name: str) -> Case:
    golden = golden_vivit(name)
    return golden.model(), golden.clip, golden.logits


def timesformer(name: str) -> Case:
    model, _, clip, logits = test_timesformer.golden(name)
    return model, clip, logits


def videomae(name: str) -> Case:
    model, clip, tensors = test_videomae.golden(name)
    return model, clip, tensors["logits"]


def cases() -> dict[str, Callable[[str], Case]]:
    """Every golden network, and what reads it."""
    timesformers = (*test_timesformer.OFFICIAL, *test_timesformer.HF, test_timesformer.INTERPOLATED)
    return {
        **dict.fromkeys(STAM_FIXTURES, stam),
        **dict.fromkeys(SCENIC, vivit),
        "hf_vivit_a": lambda _: test_vivit.golden_hugging_face(),
        **dict.fromkeys(timesformers, timesformer),
        **dict.fromkeys((test_videomae.OFFICIAL, *test_videomae.HF), videomae),
    }


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    differences = {}
    for name, read in cases().items():
        model, clip, logits = read(name)
        differences[name] = float((model(clip) - logits).abs().max())
    failed = [name for name, difference in differences.items() if difference > PARITY]
    result = {
        "command": "python benchmarks/parity.py",
        "machine": machine(),
        "networks": len(differences),
        "tolerance": PARITY,
        "largest_difference": max(differences.values()),
        "differences": differences,
        "failed": failed,
    }
    path = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-parity.json"
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
