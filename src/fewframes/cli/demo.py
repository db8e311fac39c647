"""`fewframes demo`: a folder comes in, the whole way on generated videos goes out, last of all one line of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fewframes.cli.output import json_document, line, note_line, parse, show

__all__ = ["Options", "run"]


@dataclass(frozen=True)
class Options:
    """Write videos, train STAM and mean pooling on the same budget, evaluate both on unseen videos, report.

    The last line of standard output is one line of JSON.
    """

    output: str = "runs/demo"
    """Folder for videos, models and report.html; an interrupted demo goes on where it stopped."""
    videos: int = 1200
    """Videos to train on."""
    test_videos: int = 240
    """Unseen videos to evaluate on."""
    epochs: int = 0
    """Epochs of both models; 0 takes the recipes' own."""
    seed: int = 0
    """Everything random follows from it."""
    json: bool = False
    """Print only the line of JSON."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, run, print."""
    options = parse(Options, arguments, program)

    from fewframes.demo import run_demo
    from fewframes.report.tables import attention_table, prediction_table

    result = run_demo(
        options.output,
        num_videos=options.videos,
        num_test_videos=options.test_videos,
        epochs=options.epochs or None,
        seed=options.seed,
        say=note_line,
    )
    if not options.json:
        show(prediction_table([result.prediction]))
        show(attention_table(result.prediction))
        line(
            f"STAM {result.stam_top1:.1f} %, mean pooling {result.mean_top1:.1f} % of {result.num_videos} unseen videos"
        )
        line(f"report: {result.report}")
    json_document(
        {
            "stam_top1": round(result.stam_top1, 2),
            "mean_top1": round(result.mean_top1, 2),
            "num_videos": result.num_videos,
            "seconds": round(result.seconds, 1),
            "report": str(result.report),
        },
        indent=None,
    )
    return 0
