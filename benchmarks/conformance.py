"""Proves the reader: real files against a plain decode, frame by frame, and thousands of damaged copies.

    python benchmarks/conformance.py                              both parts
    python benchmarks/conformance.py --parts fixtures             every real file, good and bad
    python benchmarks/conformance.py --parts fuzz --count 2000 --seed 0 1 2
    python benchmarks/conformance.py --file broken.mp4            what the fuzz part says of one file
    python benchmarks/conformance.py --table docs/conformance.md  puts today's figures into that page

Everything is read in other processes, in at most 20 s and 1.5 GB for what a model needs of a file (Linux only).
Writes benchmarks/results/DATE-conformance.json (parts already in today's file are kept) and prints it as one line.
Real files are looked for in $FEWFRAMES_DATA/fixtures (expected.csv). Damaged files that fail are kept in --keep.
Exit status 1 if anything failed.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import queue
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fewframes.progress import track
from fewframes.report.serial import write_atomically
from first_light import ROOT, machine

sys.path.insert(0, str(ROOT))  # the tests' own helpers, as in first_light.py

from tests.helpers import conformance, damage, fuzz
from tests.helpers.guarded import Ended, Guard
from tests.helpers.plain_decode import decode_plainly

MARKS = ("<!-- figures -->", "<!-- /figures -->")
ALL_FRAMES_SECONDS = 3600.0  # for the proof, which decodes everything twice
LONGEST_FUZZED = 2000  # frames; longer files would be slow, not different
T, R = TypeVar("T"), TypeVar("R")


def main() -> None:
    options = parse()
    if options.file:
        sys.exit(one_file(options.file, options.source))
    path = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-conformance.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    parts = {"fixtures": fixtures, "fuzz": fuzzing}
    for name in options.parts if not options.table else ():
        start = time.perf_counter()
        found = parts[name](options)
        result[name] = {
            "command": shlex.join(["python", *sys.argv]),
            "machine": machine(),
            "seconds": round(time.perf_counter() - start, 1),
            **found,
        }
        write_atomically(path, json.dumps(result, indent=1) + "\n")
    if options.table:
        write_table(options.table, result)
    print(json.dumps(result))
    sys.exit(any(part["failed"] for part in result.values()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("fixtures", "fuzz"), default=["fixtures", "fuzz"])
    parser.add_argument("--count", type=int, default=2000, help="damaged files for each seed")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fewframes-fuzz")
    parser.add_argument("--only", default="", help="only real files whose path contains this")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--source", type=Path, help="what --file was before it was damaged")
    parser.add_argument("--table", type=Path)
    return parser.parse_args()


def in_parallel(work: Callable[[Guard, T], R], items: Iterable[T], processes: int, what: str) -> Iterator[R]:
    """Results in the order in which they are ready; each of `processes` threads has its own guarded process."""
    guards: queue.SimpleQueue[Guard] = queue.SimpleQueue()

    def one(item: T) -> R:
        guard = guards.get()
        try:
            return work(guard, item)
        finally:
            guards.put(guard)

    made = [Guard() for _ in range(processes)]
    with ThreadPoolExecutor(processes) as pool:
        for guard in made:
            guards.put(guard)
        futures = [pool.submit(one, item) for item in items]
        done = (future.result() for future in as_completed(futures))
        yield from track(done, what, total=len(futures), show=True)
    for guard in made:
        guard.close()


# Real files


def data_folder() -> Path:
    return Path(os.environ.get("FEWFRAMES_DATA", ROOT.parent / "shared" / "data")) / "fixtures"


def listed() -> list[dict[str, str]]:
    path = data_folder() / "expected.csv"
    if not path.exists():
        sys.exit(f"no fixtures/expected.csv in $FEWFRAMES_DATA ({path.parent.parent}); name the folder that has it")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fixtures(options: argparse.Namespace) -> dict[str, object]:
    rows = [row for row in listed() if options.only in row["path"]]
    found = {row["path"]: row for row in in_parallel(fixture, rows, options.processes, "real files")}
    files = [found[row["path"]] for row in rows]
    failed = [file["path"] for file in files if file["wrong"]]
    outcomes = Counter("refused at a frame" if "at frame" in file["outcome"] else file["outcome"] for file in files)
    for path in failed:
        print(f"FAILED {path}: {found[path]['wrong'][:3]}", file=sys.stderr)
    frames = sum(file["frames"] for file in files)
    return {
        "files_total": len(files),
        "as_specified": len(files) - len(failed),
        "failed": failed,
        "outcomes": outcomes,
        "frames_compared": frames,
        "idle_mb": idle_mb(),
        "files": files,
    }


def fixture(guard: Guard, row: dict[str, str]) -> dict[str, object]:
    """One real file: what a model needs of it under the limits, then every frame against a plain decode."""
    path = data_folder() / row["path"]
    ended = [
        guard.run(conformance.read_few, path, 0),
        guard.run(conformance.read_all, path, 1, seconds=ALL_FRAMES_SECONDS),
        guard.run(decode_plainly, path, seconds=ALL_FRAMES_SECONDS),
    ]
    outcome, wrong, frames, reason = "FAILED", [how for each in ended if (how := failure(each))], 0, ""
    if not wrong:
        few, every, plain = (each.value for each in ended)
        outcome, wrong = conformance.judge(row, plain, few, every)
        frames, reason = len({given.index for given in every.given}), every.refusal
    return {
        "path": row["path"],
        "outcome": "FAILED" if wrong else outcome,
        "frames": frames,
        "reason": reason,
        "explained": conformance.EXPLAINED.get(row["path"], ""),
        "seconds": round(ended[0].seconds, 2),
        "peak_mb": round(ended[0].peak_mb),
        "wrong": wrong[:20],
    }


def idle_mb() -> int:
    """What a process takes that has loaded the libraries and read nothing."""
    with Guard() as guard:
        return round(guard.run(len, "").peak_mb)


def failure(ended: Ended) -> str:
    if ended.how != "returned":
        return f"{ended.how}: {ended.value} {ended.output}"
    return f"wrote: {ended.output}" if ended.output else ""


# Damaged files


def fuzzing(options: argparse.Namespace) -> dict[str, object]:
    options.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = [Path(folder) / name for name in damage.MADE]
        for path in made:
            path.write_bytes(damage.make(path.name))
        real, shares = real_sources()
        cases = []
        for seed in options.seed:
            rng = np.random.default_rng([seed, options.count])
            for number in range(options.count):
                source = made[number // 2 % len(made)] if number % 2 else real[int(rng.choice(len(real), p=shares))]
                cases.append((source, seed, number))

        def work(guard: Guard, case: tuple[Path, int, int]) -> dict[str, object]:
            return damaged_file(guard, case, options.keep)

        rows = list(in_parallel(work, cases, options.processes, "damaged files"))
    failed = sorted((row for row in rows if not row["passes"]), key=lambda row: str(row["saved"]))
    return {
        "damaged_files": len(rows),
        "count": options.count,
        "seeds": options.seed,
        "sources": len({row["source"] for row in rows}),
        "verdicts": Counter(str(row["verdict"]) for row in rows),
        "by_damage": {
            kind: Counter(str(row["verdict"]) for row in rows if str(row["damage"]).startswith(kind + ":"))
            for kind in damage.KINDS
        },
        "idle_mb": idle_mb(),
        "largest_seconds": max(float(str(row["seconds"])) for row in rows),
        "largest_peak_mb": max(int(str(row["peak_mb"])) for row in rows),
        "failed": failed,
    }


def real_sources() -> tuple[list[Path], np.ndarray]:
    """Real files without known damage, and how often each is taken: the less work it is, the more often."""
    rows = [
        row
        for row in listed()
        if row["ffmpeg_rc"] == "0"
        and row["decoded_frames"].isdigit()
        and not row["path"].startswith("malformed/")
        and row["path"] not in conformance.EXPLAINED
    ]
    rows = [row for row in rows if int(row["decoded_frames"]) <= LONGEST_FUZZED]
    work = np.array([int(row["decoded_frames"]) * int(row["w"]) * int(row["h"]) for row in rows])
    shares = 1 / (1 + work / 20e6)
    return [data_folder() / row["path"] for row in rows], shares / shares.sum()


def damaged_file(guard: Guard, case: tuple[Path, int, int], keep: Path) -> dict[str, object]:
    source, seed, number = case
    verdict = fuzz.judge_damaged(guard, source, seed, number)
    content, done = fuzz.damaged(source, seed, number)
    row: dict[str, object] = {
        "source": source.name,
        "damage": done,
        "verdict": verdict.name,
        "passes": verdict.passes,
        "seconds": round(verdict.seconds, 2),
        "peak_mb": round(verdict.peak_mb),
    }
    if not verdict.passes:
        saved = keep / f"{seed}-{number}-{source.name}"
        saved.write_bytes(content)
        like = source.name if source.name in damage.MADE else str(source)
        row |= {"saved": str(saved), "detail": verdict.detail[-2000:]}
        print(
            f"{verdict.name}: {done}\n  {verdict.detail.strip().splitlines()[-1:]}\n"
            f"  python benchmarks/conformance.py --file {shlex.quote(str(saved))} --source {shlex.quote(like)}",
            file=sys.stderr,
        )
    return row


def one_file(path: Path, source: Path | None) -> int:
    with Guard() as guard, tempfile.TemporaryDirectory() as folder:
        if source is not None and source.name in damage.MADE:
            source = Path(folder) / source.name
            source.write_bytes(damage.make(source.name))
        verdict = fuzz.judge_file(guard, path, source or path)
    print(f"{verdict.name} ({verdict.seconds:.2f} s, {verdict.peak_mb:.0f} MB)\n{verdict.detail}", file=sys.stderr)
    print(json.dumps({"file": str(path), "verdict": verdict.name, "passes": verdict.passes}))
    return int(not verdict.passes)


# The page


def write_table(page: Path, result: dict[str, Any]) -> None:
    """Put the figures between the page's marks; the rest of it stays."""
    before, found, rest = page.read_text().partition(MARKS[0])
    _, closed, after = rest.partition(MARKS[1])
    if not (found and closed):
        sys.exit(f"{page} lacks the marks {MARKS[0]} and {MARKS[1]}; put them where the tables belong")
    parts = [write(result[name]) for name, write in (("fixtures", files_table), ("fuzz", fuzz_table)) if name in result]
    write_atomically(page, before + MARKS[0] + "\n\n" + "\n".join(parts) + "\n" + MARKS[1] + after)


def files_table(part: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in part["outcomes"].items())
    lines = [
        f"### {part['as_specified']} of {part['files_total']} real files as specified",
        "",
        f"{counts}; {part['frames_compared']:,} frames compared. {of_machine(part)}",
        "",
        "| file | outcome | frames | s | MB | the reader says; remarks |",
        "|---|---|--:|--:|--:|---|",
    ]
    for file in part["files"]:
        says = "; ".join(filter(None, [file["reason"].split("; ")[0], file["explained"]]))
        peak = file["peak_mb"] - part["idle_mb"]
        lines.append(
            f"| {file['path']} | {file['outcome']} | {file['frames'] or ''} | {file['seconds']:.2f} | {peak} | {says} |"
        )
    return "\n".join([*lines, ""])


def fuzz_table(part: dict[str, Any]) -> str:
    names = [name for name in (*fuzz.PASSES, *sorted(part["verdicts"])) if name in part["verdicts"]]
    names = list(dict.fromkeys(names))
    lines = [
        f"### {part['damaged_files'] - len(part['failed'])} of {part['damaged_files']} damaged files as specified",
        "",
        f"Copies of {part['sources']} files, seeds {', '.join(map(str, part['seeds']))}. Most time "
        f"{part['largest_seconds']} s, most memory {part['largest_peak_mb'] - part['idle_mb']} MB. {of_machine(part)}",
        "",
        "| damage | " + " | ".join(names) + " |",
        "|---|" + "--:|" * len(names),
    ]
    rows = {**part["by_damage"], "**all**": part["verdicts"]}
    for kind, verdicts in rows.items():
        lines.append(f"| {kind} | " + " | ".join(str(verdicts.get(name, 0)) for name in names) + " |")
    return "\n".join([*lines, ""])


def of_machine(part: dict[str, Any]) -> str:
    machine, versions = part["machine"], part["machine"]["versions"]
    return (
        f"Processor seconds and MB (beyond the {part['idle_mb']} MB of the libraries) for opening and some 20 frames, "
        f"on {machine['cpu']}; PyAV {versions['av']}. Command: `{part['command']}`"
    )


if __name__ == "__main__":
    main()
