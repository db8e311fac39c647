"""Measures what the randomness of training costs: milliseconds a clip of 16 frames of 256 x 340 pixels, on one core.

    python benchmarks/augment.py                 50 draws of each
    python benchmarks/augment.py --draws 10      fewer

"frames" is a change alone, of the whole frames; "view" is all that training does to a clip after decoding with that
setting, down to 224 x 224 pixels. Every draw is another one, so that a policy's figure is the mean over what it may do.
Writes benchmarks/results/DATE-augment.json and prints it as one line.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from fewframes.records import Preprocess
from fewframes.report.serial import write_atomically
from fewframes.video.augment import Augment, random_view
from fewframes.video.augment_colour import cut_out, drop_colour, jitter_colour
from fewframes.video.augment_policy import Policy, apply_policy
from fewframes.video.transforms import resize_and_crop
from first_light import ROOT, machine

SPEC = Preprocess((224, 224), 256)
AUTO, RAND, TRIVIAL = Policy("autoaugment"), Policy("randaugment", 2, 9), Policy("trivialaugment")
FRAMES: dict[str, Callable[[Tensor, random.Random], Tensor]] = {
    "flip": lambda pixels, rng: pixels.flip(3),
    "cutout": lambda pixels, rng: cut_out(pixels, 0.5, rng),
    "colour_jitter": jitter_colour,
    "colour_drop": lambda pixels, rng: drop_colour(pixels),
    "autoaugment": lambda pixels, rng: apply_policy(pixels, AUTO, rng),
    "randaugment_2_9": lambda pixels, rng: apply_policy(pixels, RAND, rng),
    "trivialaugment": lambda pixels, rng: apply_policy(pixels, TRIVIAL, rng),
}
VIEWS = {
    "crop_only": Augment(max_zoom=1.0),
    "usual": Augment(),
    "usual_inverse": Augment(inverse_zoom=True),
    "scale_jitter": Augment(max_zoom=1.0, scale_jitter=(0.9, 1.33)),
    "usual_cutout": Augment(cutout=0.5),
    "usual_colour_jitter": Augment(colour_jitter=1.0),
    "stam": Augment(flip_probability=0.5, cutout=0.5, policy=AUTO),
    "vivit": Augment(max_zoom=1.0, scale_jitter=(0.9, 1.33), flip_probability=0.5, colour_jitter=0.8, colour_drop=0.1),
    "randaugment_2_9": Augment(policy=RAND),
    "trivialaugment": Augment(policy=TRIVIAL),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=50)
    draws = parser.parse_args().draws
    torch.set_num_threads(1)
    host = machine()
    coarse = torch.randint(0, 256, (16, 3, 32, 43), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = resize_and_crop(coarse, Preprocess((256, 340), None))  # smooth, as pictures are
    result = {
        "command": f"python benchmarks/augment.py --draws {draws}",
        "machine": host,
        "frames": "16 x 3 x 256 x 340, uint8",
        "view": "16 x 3 x 224 x 224, uint8",
        "draws": draws,
        "frames_ms": {name: measure(change, pixels, draws) for name, change in FRAMES.items()},
        "view_ms": {
            name: measure(lambda pixels, rng, each=each: random_view(pixels, SPEC, rng, each).pixels, pixels, draws)
            for name, each in VIEWS.items()
        },
    }
    path = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-augment.json"
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def measure(change: Callable[[Tensor, random.Random], Tensor], pixels: Tensor, draws: int) -> dict[str, float]:
    for seed in range(3):  # imports, and the allocator's first pages
        change(pixels, random.Random(-seed))
    taken = []
    for seed in range(draws):
        began = time.perf_counter()
        change(pixels, random.Random(seed))
        taken.append(1000 * (time.perf_counter() - began))
    return {
        "mean": round(statistics.mean(taken), 2),
        "median": round(statistics.median(taken), 2),
        "most": round(max(taken), 2),
    }


if __name__ == "__main__":
    main()
