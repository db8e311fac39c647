"""Several processes: the same run as one, whatever each of them has, meets or is told; started as torchrun does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fewframes.data.loader import epoch_order
from fewframes.report.logs import read_training_log
from fewframes.training.loop import train
from tests.helpers.tiny import SHAPE, same_bits, state_of, tiny_config, weights_of
from tests.helpers.world import Ended, run_world

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without it")

# Without dropout, which is drawn anew in each process. Of 16 videos, 6 a step: 6, 6 and 4.
CHANGES: dict[str, Any] = {
    "model": {"options": (*SHAPE[:-1], "temporal_dropout=0.0")},
    "data": {"val_fraction": 0.0},
    "optim": {"batch_size": 6, "accumulate": 1, "epochs": 7},
    "average": {"decay": 0.9},
    "save_every_steps": 1,
}
CODE = """
import sys
from fewframes.errors import FewframesError
from fewframes.training.loop import train
from tests.helpers.tiny import tiny_config
changes = {changes!r}
try:
    train(tiny_config(sys.argv[1], sys.argv[2], **changes), resume="resume" in sys.argv, show=False)
except FewframesError as error:
    print(f"{{type(error).__name__}}: {{error}}", file=sys.stderr)
    raise SystemExit(error.exit_status)
"""


def changed(**changes: dict[str, Any]) -> dict[str, Any]:
    return {**CHANGES, **{name: {**CHANGES.get(name, {}), **value} for name, value in changes.items()}}


def train_in(size: int, source: Path, run: Path, *more: str, changes: dict[str, Any] = CHANGES) -> list[Ended]:
    return run_world(size, CODE.format(changes=changes), source, run, *more)


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_training_log(run / "log.jsonl") if "loss" in line]


def all_well(ended: list[Ended]) -> None:
    assert [each.status for each in ended] == [0] * len(ended), ended


@pytest.fixture(scope="module")
def alone(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    train(tiny_config(tiny_videos, run, **CHANGES), show=False)
    return run


@pytest.fixture(scope="module")
def by_two(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("two") / "run"
    all_well(train_in(2, tiny_videos, run))
    return run


def test_two_processes_are_one_run(alone: Path, by_two: Path) -> None:
    assert len(losses(alone)) == 21
    assert losses(by_two) == pytest.approx(losses(alone), rel=1e-5)
    for name in ("last", "averaged", "best"):
        assert_near(by_two / name, alone / name)
    assert sorted(path.name for path in by_two.iterdir()) == sorted(path.name for path in alone.iterdir())


def assert_near(found: Path, expected: Path) -> None:
    """All weights together: AdamW makes a whole step of the rounding errors where a gradient is 0."""
    ours, theirs = weights_of(found), weights_of(expected)
    assert ours.keys() == theirs.keys()
    difference = torch.cat([(ours[name] - theirs[name]).flatten() for name in ours])
    assert float(difference.norm()) < 1e-4 * float(torch.cat([each.flatten() for each in theirs.values()]).norm())


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_three_processes_in_two_parts_with_a_video_that_cannot_be_read(
    tiny_videos: Path, tmp_path: Path, strategy: str
) -> None:
    """Steps of 6, 6 and 3 clips, of 2, 2 and 2 or 1, 1 and 1; one of them is not there, so a process has none."""
    header, *rows = tiny_videos.read_text().splitlines()
    rows = [str(tiny_videos.parent / row) for row in rows if row.endswith(",train")][:15]
    last = epoch_order(15, seed=0, epoch=0)[13]
    rows[last] = f"{tmp_path / 'broken.mp4'},{rows[last].split(',')[1]},train"
    (tmp_path / "broken.mp4").write_text("not a video")
    (tmp_path / "list.csv").write_text("\n".join([header, *rows, ""]))
    parts = changed(
        data={"on_bad_video": "skip"},
        optim={"accumulate": 2, "epochs": 3},
        balance={"class_weights": "balanced"},
        scale={"recompute_blocks": True},
    )
    alone = tmp_path / "alone"
    train(tiny_config(tmp_path / "list.csv", alone, **parts), show=False)
    changes = {**parts, "scale": {"strategy": strategy, "recompute_blocks": True}}
    all_well(train_in(3, tmp_path / "list.csv", tmp_path / "run", changes=changes))
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), rel=1e-5)
    assert len(losses(alone)) == 9
    assert_near(tmp_path / "run" / "averaged", alone / "averaged")
    kept = [state_of(run)["progress"] for run in (tmp_path / "run", alone)]
    assert kept[0] == kept[1]
    assert kept[0]["num_skipped"] == 3
    skipped = [line for line in read_training_log(tmp_path / "run" / "log.jsonl") if "skipped" in line]
    assert len(skipped) == 3, "once an epoch, by the first process"


def kill_at(log: Path, count: int, number: int, *, first_only: bool = False) -> Callable[[list[int]], bool]:
    """Send a signal to all processes, or to one that is not the first, once the log has so many losses."""

    def now(pids: list[int]) -> bool:
        if not log.exists() or log.read_text().count('"loss"') < count:
            return False
        for pid in pids[1:] if first_only else pids:
            os.kill(pid, number)
        return True

    return now


SLOW = CODE.replace(
    "changes =",
    """
import time, fewframes.training.loop as loop
step = loop._step
def slow(*args):
    time.sleep(0.1)
    return step(*args)
loop._step = slow
changes =""",
)


def interrupted(source: Path, run: Path, number: int, *, first_only: bool = False) -> list[Ended]:
    kill = kill_at(run / "log.jsonl", 5, number, first_only=first_only)
    return run_world(2, SLOW.format(changes=CHANGES), source, run, then=kill)


def test_killed_and_taken_up_by_as_many(tiny_videos: Path, by_two: Path, tmp_path: Path) -> None:
    ended = interrupted(tiny_videos, tmp_path / "run", signal.SIGKILL)
    assert [each.status for each in ended] == [-signal.SIGKILL] * 2
    assert 4 <= state_of(tmp_path / "run")["progress"]["step"] < 21
    all_well(train_in(2, tiny_videos, tmp_path / "run", "resume"))
    assert same_bits(state_of(tmp_path / "run"), state_of(by_two))
    for name in ("last", "averaged", "best"):
        assert same_bits(weights_of(tmp_path / "run" / name), weights_of(by_two / name))


def test_told_to_stop_and_taken_up_by_one(tiny_videos: Path, alone: Path, tmp_path: Path) -> None:
    """One of the processes hears of it; both stop after the same step."""
    ended = interrupted(tiny_videos, tmp_path / "run", signal.SIGTERM, first_only=True)
    assert [each.status for each in ended] == [128 + signal.SIGTERM] * 2, ended
    assert all("stopped by SIGTERM; the state is saved, go on with --resume" in each.errors for each in ended)
    step = state_of(tmp_path / "run")["progress"]["step"]
    assert 5 <= step < 21
    assert len(losses(tmp_path / "run")) == step
    train(tiny_config(tiny_videos, tmp_path / "run", **CHANGES), resume=True, show=False)
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), rel=1e-5)
    assert_near(tmp_path / "run" / "last", alone / "last")


TOLD_WHILE_VALIDATING = CODE.replace(
    "changes =",
    """
import os, signal, fewframes.training.loop as loop
own = loop.evaluate
def told(*arguments, **options):
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGUSR1)
    return own(*arguments, **options)
loop.evaluate = told
changes =""",
)


def test_told_to_stop_while_validating(tiny_videos: Path, tmp_path: Path) -> None:
    """One process hears of it in the middle of its share; the other does not wait for the rest for ever."""
    changes = changed(data={"val_fraction": 0.25}, optim={"epochs": 2})
    ended = run_world(2, TOLD_WHILE_VALIDATING.format(changes=changes), tiny_videos, tmp_path / "run")
    assert [each.status for each in ended] == [128 + signal.SIGUSR1] * 2, ended
    progress = state_of(tmp_path / "run")["progress"]
    assert (progress["epoch"], progress["step_in_epoch"], progress["step"]) == (0, 2, 2)
    all_well(train_in(2, tiny_videos, tmp_path / "run", "resume", changes=changes))
    all_well(train_in(2, tiny_videos, tmp_path / "whole", changes=changes))
    assert same_bits(state_of(tmp_path / "run"), state_of(tmp_path / "whole"))
    lines = [line for line in read_training_log(tmp_path / "run" / "log.jsonl") if "validation" in line]
    assert [line["validation"]["num_videos"] for line in lines] == [4, 4]


def test_what_one_process_cannot_read_stops_all(tiny_videos: Path, tmp_path: Path) -> None:
    header, *rows = tiny_videos.read_text().splitlines()
    rows = [str(tiny_videos.parent / row) for row in rows if row.endswith(",train")]
    place = epoch_order(16, seed=0, epoch=0)[1]
    rows[place] = f"{tmp_path / 'broken.mp4'},{rows[place].split(',')[1]},train"
    (tmp_path / "broken.mp4").write_text("not a video")
    (tmp_path / "list.csv").write_text("\n".join([header, *rows, ""]))
    ended = train_in(2, tmp_path / "list.csv", tmp_path / "run")
    assert [each.status for each in ended] == [1, 1]
    assert all("UnreadableVideo: cannot read" in each.errors and "broken.mp4" in each.errors for each in ended)


def test_what_processes_refuse(tiny_videos: Path, tmp_path: Path) -> None:
    ended = train_in(4, tiny_videos, tmp_path / "run")
    assert [each.status for each in ended] == [2] * 4
    message = "optim.batch_size 6 is not a multiple of 4 processes x optim.accumulate 1"
    assert all(message in each.errors for each in ended)
    assert not (tmp_path / "run").exists()
    changes = changed(scale={"sync_batchnorm": True})
    ended = train_in(2, tiny_videos, tmp_path / "run", changes=changes)
    assert all("scale.sync_batchnorm works on GPUs only" in each.errors for each in ended)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    ended = train_in(2, tiny_videos, tmp_path / "run")
    assert [each.status for each in ended] == [2, 2]
    assert all("already holds a run; add --resume" in each.errors for each in ended), "the first one's error, in both"


WORLD = """
import sys, torch
from fewframes.errors import UsageError
from fewframes.training.parallel import World
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
world = World(rank, 3)
assert world.add_up(rank, 0.1) == (3.0, 0.1 + 0.1 + 0.1)
assert world.gather(("of", rank)) == [("of", 0), ("of", 1), ("of", 2)]
norm = torch.nn.BatchNorm1d(2)
norm.running_mean.fill_(rank + 5)
norm.num_batches_tracked.fill_(rank + 7)
world.same_buffers(norm)
assert norm.running_mean.tolist() == [5, 5]
assert int(norm.num_batches_tracked) == 7
assert world.first_does(lambda: rank + 11) == 11
def refuse():
    raise UsageError("of the first")
try:
    world.first_does(refuse)
except UsageError as error:
    assert str(error) == "of the first"
else:
    raise AssertionError
assert (world.shard.rank, world.shard.world_size, world.is_first) == (rank, 3, rank == 0)
"""


def test_what_processes_tell_each_other() -> None:
    all_well(run_world(3, WORLD))


EVALUATE = """
import dataclasses, sys, torch
from fewframes.data.loader import Shard
from fewframes.data.manifest_io import read_manifest
from fewframes.errors import FewframesError
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.records import BadVideoPolicy
from fewframes.report.serial import write_json
model, source, folder, policy = sys.argv[1:]
import os
rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if size > 1:
    torch.distributed.init_process_group("gloo")
try:
    shard = Shard(rank, size)
    report = evaluate(Classifier.load(model), read_manifest(source), policy=BadVideoPolicy(policy, 0.2), shard=shard)
except FewframesError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    raise SystemExit(1)
reading = dataclasses.replace(report.reading, decode_seconds=0.0, wait_seconds=0.0)
write_json(f"{folder}/{size}-{rank}.json", dataclasses.replace(report, seconds=0.0, reading=reading))
"""


def test_an_evaluation_by_three_processes_is_the_one_by_one(
    tiny_videos: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """25 videos, one of which cannot be read: shares of 9, 8 and 8, and the very same report."""
    header, *rows = tiny_videos.read_text().splitlines()
    rows = [str(tiny_videos.parent / row) for row in rows]
    (tmp_path / "broken.mp4").write_text("not a video")
    rows.insert(10, f"{tmp_path / 'broken.mp4'},rise,test")
    (tmp_path / "list.csv").write_text("\n".join([header, *rows, ""]))
    arguments = (tiny_checkpoint, tmp_path / "list.csv", tmp_path)
    all_well(run_world(1, EVALUATE, *arguments, "count-as-wrong"))
    all_well(run_world(3, EVALUATE, *arguments, "count-as-wrong"))
    expected = (tmp_path / "1-0.json").read_bytes()
    assert b'"num_listed": 25' in expected
    assert b'"num_failed": 1' in expected
    for rank in range(3):
        assert (tmp_path / f"3-{rank}.json").read_bytes() == expected
    ended = run_world(3, EVALUATE, *arguments, "error")
    assert [each.status for each in ended] == [1] * 3
    assert all("UnreadableVideo: cannot read" in each.errors for each in ended), "in all, whichever met it"
