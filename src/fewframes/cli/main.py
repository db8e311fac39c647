"""The verbs: a command line comes in, the function behind it is called, an exit status goes out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from fewframes.cli.output import error_line, line
from fewframes.errors import FewframesError, UnknownName

__all__ = ["VERBS", "main"]

# verb -> (module, what it does); "data" and "models" have verbs of their own below them.
VERBS = {
    "predict": ("fewframes.cli.predict", "classify video files, folders or patterns"),
    "evaluate": ("fewframes.cli.evaluate", "accuracy over a list of labelled videos, with a report"),
    "fit": ("fewframes.cli.fit", "train on a few hundred videos, from trained weights; chooses how, and says why"),
    "train": ("fewframes.cli.train", "train on a folder of class folders or a CSV file"),
    "demo": ("fewframes.cli.demo", "the whole way on generated videos: STAM against mean pooling"),
    "data import": ("fewframes.cli.data_import", "make one list of a data set's published annotations"),
    "data scan": ("fewframes.cli.data_scan", "open every listed video: what is broken, double or in two splits"),
    "data stats": ("fewframes.cli.data_stats", "classes, splits, groups and lengths of a list"),
    "data split": ("fewframes.cli.data_split", "part a list by groups: training, validation, test, or folds"),
    "data transcode": ("fewframes.cli.data_transcode", "re-encode a list small and with frequent keyframes"),
    "data pack": ("fewframes.cli.data_pack", "the sampled frames of each video as JPEG shards"),
    "data synthesize": ("fewframes.cli.data", "write small labelled action videos"),
    "models list": ("fewframes.cli.models_list", "the catalogue: sizes, costs, published accuracy"),
    "models show": ("fewframes.cli.models_show", "one model or checkpoint in detail"),
    "models convert": (
        "fewframes.cli.models_convert",
        "weights from one layout into another, compared tensor by tensor",
    ),
    "doctor": ("fewframes.cli.doctor", "versions, decoder, devices, threads; checks that they work"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the arguments without the program's name; None takes the process's own.

    Returns:
        0 if everything was done, 1 if some inputs failed (each is named), 2 for wrong usage.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except FewframesError as error:
        error_line(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        error_line("interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; give Python's own flush at exit nowhere to fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        line(_overview())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        line(f"fewframes {version('fewframes')}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    group = [name for name in VERBS if name.startswith(f"{verb} ")]
    if group:
        known = [name.removeprefix(f"{verb} ") for name in group]
        if not rest or rest[0] in ("-h", "--help"):
            line(_overview(group))
            return 0 if rest else 2
        if rest[0] not in known:
            raise UnknownName(f"{verb} command", rest[0], known)
        verb, rest = f"{verb} {rest[0]}", rest[1:]
    if verb not in VERBS:
        raise UnknownName("command", verb, [*VERBS, *{name.split()[0] for name in VERBS if " " in name}])
    status: int = import_module(VERBS[verb][0]).run(rest, f"fewframes {verb}")
    return status


def _overview(verbs: Sequence[str] = ()) -> str:
    shown = verbs or list(VERBS)
    width = max(map(len, shown)) + 2
    lines = [
        "fewframes: recognise actions in video from a handful of frames",
        "",
        "usage: fewframes COMMAND [OPTIONS]        fewframes COMMAND --help",
        "",
        *(f"  {name:<{width}}{VERBS[name][1]}" for name in shown),
        "",
        "Results go to standard output (--json for machines), progress and errors to standard error.",
        "Exit status: 0 done, 1 some inputs failed (each is named), 2 wrong usage.",
    ]
    return "\n".join(lines)
