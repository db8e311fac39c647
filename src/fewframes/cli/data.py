"""`fewframes data synthesize`: counts and a seed come in, a folder of labelled videos goes out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from fewframes.cli.output import json_document, line, parse

__all__ = ["SynthesizeOptions", "run"]


@dataclass(frozen=True)
class SynthesizeOptions:
    """Write small labelled action videos: H.264 in MP4, and a manifest.csv with path,label,split.

    Classes come in pairs that are each other played backwards, so only the order of frames tells them apart.

    Example: fewframes data synthesize videos --videos 1240 --test-videos 240
    """

    directory: tyro.conf.Positional[str]
    """A new or empty folder, or one that this command made with the same settings."""
    videos: int = 1200
    """Videos of the split "train"."""
    test_videos: int = 0
    """Videos of the split "test", in addition."""
    seed: int = 0
    """The same seed gives the same pixels."""
    classes: int = 8
    """How many classes, even, at most 16."""
    workers: int = max(os.cpu_count() or 1, 1)
    """Processes."""
    json: bool = False
    """Print the result as JSON."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, write the videos, say where they are."""
    options = parse(SynthesizeOptions, arguments, program)

    from fewframes.video.synthetic import synthesize

    manifest = synthesize(
        options.directory,
        num_videos=options.videos,
        num_test_videos=options.test_videos,
        seed=options.seed,
        classes=options.classes,
        workers=options.workers,
        progress=True,
    )
    if options.json:
        json_document({"manifest": str(manifest), "train": options.videos, "test": options.test_videos})
    else:
        line(f"{manifest}: {options.videos} training and {options.test_videos} test videos")
    return 0
