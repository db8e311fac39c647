"""Batches: every video exactly once, whoever reads it; workers that end when they should, and say so when they must."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fewframes.data.loader as loader
from fewframes.data.cache import FrameCache
from fewframes.data.dataset import Clip, ClipRequest, TrainingClips, View
from fewframes.data.loader import Batch, Shard, epoch_order, load_batches
from fewframes.data.manifest import Video
from fewframes.errors import UsageError, WorkerDied
from tests.conftest import ROOT
from tests.data.test_dataset import PLAIN, clips_of, videos

__all__ = ["videos"]  # the fixture

proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to look at other processes")


def same(left: Sequence[Batch], right: Sequence[Batch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a.clips, b.clips)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.weights, b.weights)
        and (a.indices, a.failures, a.failed_indices) == (b.indices, b.failures, b.failed_indices)
        for a, b in zip(left, right, strict=True)
    )


def test_an_epoch_visits_each_once() -> None:
    orders = [epoch_order(50, seed=2, epoch=epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_order(50, seed=2, epoch=1) == orders[1] != epoch_order(50, seed=3, epoch=1)


def test_batches_in_order_whatever_reads_them(videos: list[Video]) -> None:
    clips = clips_of(videos)
    here = list(load_batches(clips, epoch=4, batch_size=3, workers=0))
    assert [len(batch.labels) for batch in here] == [3, 3, 1]
    order = epoch_order(7, seed=0, epoch=4)
    assert [index for batch in here for index in batch.indices] == order
    assert torch.cat([batch.labels for batch in here]).tolist() == [index % 3 for index in order]
    for index, clip in zip(order, torch.cat([batch.clips for batch in here]), strict=True):
        expected = clips[4, index].pixels
        assert expected is not None
        assert torch.equal(clip, expected)
    for prefetch in (1, 3):
        assert same(list(load_batches(clips, epoch=4, batch_size=3, workers=2, prefetch=prefetch)), here)
    assert same(list(load_batches(clips, epoch=4, batch_size=3, workers=2, skip_batches=1)), here[1:])
    assert same(list(load_batches(clips, epoch=4, batch_size=3, workers=0, skip_batches=1)), here[1:])
    assert list(load_batches(clips, epoch=4, batch_size=3, workers=2, skip_batches=3)) == []


def test_weights_and_costs_come_along(videos: list[Video]) -> None:
    weighted = [Video(video.path, ("a",), weight=1.0 + index) for index, video in enumerate(videos)]
    for workers in (0, 2):
        for batch in load_batches(clips_of(weighted), epoch=0, batch_size=3, workers=workers):
            assert batch.weights.tolist() == [1.0 + index for index in batch.indices]
            assert batch.weights.dtype == torch.float32
            assert batch.decode_seconds > 0
            assert batch.bytes_read > 0
            assert batch.packets_decoded >= 5 * len(batch.indices)


def test_unreadable_videos_are_handed_on(videos: list[Video], tmp_path: Path) -> None:
    bad = Video(tmp_path / "bad.mp4", ("a",))
    (tmp_path / "bad.mp4").write_text("not a video")
    clips = clips_of([*videos[:2], bad])
    (batch,) = load_batches(clips, epoch=0, batch_size=3, workers=0)
    assert [(index, failure.path) for index, failure in zip(batch.failed_indices, batch.failures, strict=True)] == [
        (2, str(bad.path))
    ]
    assert sorted(batch.indices) == [0, 1]
    assert batch.clips.shape[0] == len(batch.labels) == len(batch.weights) == 2
    (only,) = load_batches(clips_of([bad]), epoch=0, batch_size=3, workers=0)
    assert (tuple(only.clips.shape), len(only.labels), len(only.failures)) == ((0, 5, 3, 32, 32), 0, 1)
    assert same([only], list(load_batches(clips_of([bad]), epoch=0, batch_size=3, workers=2)))


def test_frames_in_memory_are_drawn_here(videos: list[Video], monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = list(load_batches(clips_of(videos), epoch=1, batch_size=4, workers=0))
    cache = FrameCache(videos, 64, workers=1, progress=False)
    monkeypatch.setattr(loader, "DataLoader", None)
    assert same(list(load_batches(clips_of(videos, cache=cache), epoch=1, batch_size=4, workers=5)), fresh)


def test_wrong_options_reach_the_caller_as_they_are(videos: list[Video]) -> None:
    backwards = Video(videos[0].path, ("a",), start=2.0, end=1.0)
    for workers in (0, 2):
        with pytest.raises(UsageError, match=r"^the part from 2\.0 to 1\.0 s of .*expected 0 <= start < end$"):
            list(load_batches(clips_of([*videos, backwards]), epoch=0, batch_size=2, workers=workers))


def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """No video is read: only who reads which is looked at."""

    def draw(request: ClipRequest, view: View, cache: FrameCache | None = None) -> Clip:
        return Clip(request, torch.zeros(1, 3, 1, 1, dtype=torch.uint8))

    monkeypatch.setattr(loader, "draw_clip", draw)


def shards(length: int, world_size: int, batch_size: int, equal: bool = False) -> list[list[tuple[int, ...]]]:
    """The indices of each batch of each process."""
    clips = TrainingClips([Video("a", ("a",))] * length, [0] * length, PLAIN, seed=3)
    return [
        [
            batch.indices
            for batch in load_batches(
                clips, epoch=2, batch_size=batch_size, workers=0, shard=Shard(rank, world_size, equal_batches=equal)
            )
        ]
        for rank in range(world_size)
    ]


@given(length=st.integers(0, 60), world_size=st.integers(1, 7), batch_size=st.integers(1, 9))
def test_every_video_exactly_once_in_any_world(length: int, world_size: int, batch_size: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        pretended(monkeypatch)
        split = shards(length, world_size, batch_size)
        equal = shards(length, world_size, batch_size, equal=True)
    order = epoch_order(length, seed=3, epoch=2)
    mine = [[index for batch in batches for index in batch] for batches in split]
    assert [mine[place % world_size][place // world_size] for place in range(length)] == order
    assert sum(map(len, mine)) == length, "none twice"
    counts = [len(batches) for batches in split]
    assert max(counts) - min(counts) <= 1
    assert all(len(batch) > 0 for batches in split for batch in batches)
    assert {len(batches) for batches in equal} == {max(counts)}
    assert [[batch for batch in batches if batch] for batches in equal] == split
    assert all(batches[-1] == () for batches, count in zip(equal, counts, strict=True) if count < max(counts))


@given(length=st.integers(1, 60), world_size=st.sampled_from([1, 2, 3, 4, 6]))
def test_a_step_of_the_whole_world_sees_the_same_videos(length: int, world_size: int) -> None:
    """12 clips a step, however many processes share them: so a run may go on with another number of them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        pretended(monkeypatch)
        split = shards(length, world_size, 12 // world_size, equal=True)
    order = epoch_order(length, seed=3, epoch=2)
    steps = [sorted(index for batch in step for index in batch) for step in zip(*split, strict=True)]
    assert steps == [sorted(order[begin : begin + 12]) for begin in range(0, length, 12)]


def test_skipping_in_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    pretended(monkeypatch)
    clips = TrainingClips([Video("a", ("a",))] * 10, [0] * 10, PLAIN, seed=0)
    for rank, expected in ((0, [3, 1]), (1, [3, 0])):  # shares of 4 + 3 + 3
        shard = Shard(rank, 3, equal_batches=True)
        whole = list(load_batches(clips, epoch=0, batch_size=3, workers=0, shard=shard))
        assert [len(batch.indices) for batch in whole] == expected
        for skip in range(4):
            rest = list(load_batches(clips, epoch=0, batch_size=3, workers=0, shard=shard, skip_batches=skip))
            assert [batch.indices for batch in rest] == [batch.indices for batch in whole[skip:]]


def test_a_view_does_not_depend_on_the_world(videos: list[Video]) -> None:
    clips = clips_of(videos)
    alone = {
        index: clip
        for batch in load_batches(clips, epoch=1, batch_size=2, workers=0)
        for index, clip in zip(batch.indices, batch.clips, strict=True)
    }
    for rank in range(3):
        for batch in load_batches(clips, epoch=1, batch_size=2, workers=1, shard=Shard(rank, 3)):
            for index, clip in zip(batch.indices, batch.clips, strict=True):
                assert torch.equal(clip, alone.pop(index))
    assert alone == {}


@pytest.mark.parametrize(("rank", "world_size"), [(1, 1), (-1, 2), (0, 0)])
def test_shards_that_cannot_be(rank: int, world_size: int) -> None:
    with pytest.raises(UsageError, match=rf"rank {rank} of {world_size} processes; expected 0 <= rank < world_size"):
        Shard(rank, world_size)


def test_reading_ahead_is_bounded(videos: list[Video], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    request = TrainingClips.request

    def counted(self: TrainingClips, epoch: int, index: int) -> ClipRequest:
        asked.append(index)
        return request(self, epoch, index)

    monkeypatch.setattr(TrainingClips, "request", counted)
    batches = load_batches(clips_of(videos * 20), epoch=0, batch_size=2, workers=2, prefetch=3)
    for taken in range(1, 5):
        next(batches)
        assert len(asked) <= (2 * 3 + taken) * 2, "2 workers, 3 batches ahead each, and what was taken"
    batches.close()


def test_workers_stack_batches_in_shared_memory(videos: list[Video], monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacked in ordinary memory first, a worker grew by one batch a batch: its allocator could not use the gaps."""
    clips = clips_of(videos)
    drawn = [clips[0, index] for index in range(3)]
    here = loader._collate(drawn, clips.view)
    assert not here.clips.is_shared()
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: "a worker")
    shared = loader._collate(drawn, clips.view)
    assert shared.clips.is_shared()
    assert torch.equal(shared.clips, here.clips)


def children(pid: int) -> dict[int, str]:
    """Processes below this one that still run, and their names."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            state, parent = rest.split()[:2]
            if state != "Z":
                parents[int(folder.name)], names[int(folder.name)] = int(parent), name
    found, grown = {pid}, True
    while grown:
        new = {child for child, parent in parents.items() if parent in found} - found
        found |= new
        grown = bool(new)
    return {child: names[child] for child in found - {pid}}


def status(pid: int, key: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"{key}:"))


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def workers_of(pid: int) -> list[int]:
    return [child for child, name in children(pid).items() if name == "pt_data_worker"]


@proc
def test_workers_are_forked_where_no_thread_runs_and_do_not_answer_to_ctrl_c(
    videos: list[Video], request: pytest.FixtureRequest
) -> None:
    batches = load_batches(clips_of(videos * 20), epoch=0, batch_size=2, workers=2)
    request.addfinalizer(batches.close)  # pytest keeps a failed test's variables, and with them the workers
    next(batches)
    workers = workers_of(os.getpid())
    assert len(workers) == 2
    for worker in workers:
        # The other worker may still be starting, and handing over a batch starts threads that end by themselves.
        until(lambda pid=worker: bool(int(status(pid, "SigIgn"), 16) >> (signal.SIGINT - 1) & 1), "Ctrl-C is ignored")
        until(
            lambda pid=worker: int(status(pid, "Threads")) <= 3,
            "a worker's threads are its own and two that hand batches over: none decodes or computes",
        )
        server = int(status(worker, "PPid"))
        assert server != os.getpid()
        assert status(server, "Threads") == "1"
    batches.close()
    assert workers_of(os.getpid()) == []


@proc
@pytest.mark.parametrize("how", ["break", "error", "dropped"])
def test_no_worker_outlives_an_early_end(videos: list[Video], how: str) -> None:
    batches = load_batches(clips_of(videos * 20), epoch=0, batch_size=2, workers=3)
    next(batches)
    if how == "error":
        with pytest.raises(ZeroDivisionError):
            for _ in batches:
                _ = 1 / 0
    if how != "dropped":
        batches.close()
    del batches
    assert workers_of(os.getpid()) == []


@proc
@pytest.mark.parametrize(
    ("number", "cause"),
    [(signal.SIGKILL, "killed, most often because memory ran out"), (signal.SIGTERM, "signal SIGTERM")],
)
def test_a_worker_that_is_killed_is_no_riddle(videos: list[Video], number: signal.Signals, cause: str) -> None:
    batches = load_batches(clips_of(videos * 200), epoch=0, batch_size=2, workers=2, prefetch=1)
    next(batches)
    for worker in workers_of(os.getpid()):
        os.kill(worker, number)
    message = (
        rf"^a process that reads videos ended \({cause}\) while it was at .*{videos[0].path.parent}.*\.mp4; "  # type: ignore[union-attr]
        r"if memory ran out, use fewer --data\.workers, .*; then go on with --resume$"
    )
    with pytest.raises(WorkerDied, match=message) as caught:
        list(batches)
    assert caught.value.__context__ is None, "nothing keeps the dead loader"
    assert workers_of(os.getpid()) == []
    assert len(list(load_batches(clips_of(videos), epoch=0, batch_size=2, workers=2))) == 4, "the next epoch works"


SCRIPT = """
import sys
from pathlib import Path
from fewframes.data.dataset import TrainingClips
from fewframes.data.loader import load_batches
from fewframes.data.manifest import Video
from tests.data.test_dataset import VARIED

print("started", flush=True)
videos = [Video(path, ("a",)) for path in sorted(Path(sys.argv[1]).glob("*.mp4"))] * int(sys.argv[2])
clips, count = TrainingClips(videos, [0] * len(videos), VARIED, seed=0), 0
try:
    for batch in load_batches(clips, epoch=0, batch_size=4, workers=2):
        count += len(batch.indices)
        print("batch", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print("end", count, flush=True)
"""


def start_script(videos: list[Video], tmp_path: Path, repeat: int) -> subprocess.Popen[str]:
    """A script as users write them: what it does is not below `if __name__ == "__main__"`."""
    (tmp_path / "script.py").write_text(SCRIPT)
    folder = Path(videos[0].path).parent
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(folder), str(repeat)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_script_without_a_main_guard(videos: list[Video], tmp_path: Path) -> None:
    out, err = start_script(videos, tmp_path, 2).communicate(timeout=120)
    assert err == ""
    assert out.split("\n") == ["started", *["batch"] * 4, "end 14", ""], "once, not once in each worker too"


@proc
@pytest.mark.parametrize("after", ["started", "batch"])
def test_ctrl_c_ends_everything_quietly(videos: list[Video], tmp_path: Path, after: str) -> None:
    """A terminal sends the signal to every process; "started" hits the fork server while it imports torch."""
    process = start_script(videos, tmp_path, 500)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == after:
            break
    if after == "started":
        deadline = time.monotonic() + 60
        while not children(process.pid):
            assert time.monotonic() < deadline, "no process was started"
    below = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert err == ""
    assert "interrupted\n" in out
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() and status(pid, "State")[0] != "Z" for pid in below):
        assert time.monotonic() < deadline, "processes outlive the interruption"
        time.sleep(0.02)


WORLD = """
import datetime, sys
from pathlib import Path
import torch
from torch.nn.parallel import DistributedDataParallel
from fewframes.data.dataset import TrainingClips
from fewframes.data.loader import Shard, load_batches
from fewframes.data.manifest import Video
from fewframes.training.loop import weighted_loss_sum
from tests.data.test_dataset import VARIED

folder, rank, world_size, batch_size = Path(sys.argv[1]), *map(int, sys.argv[3:])
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{sys.argv[2]}/meet", rank=rank, world_size=world_size,
    timeout=datetime.timedelta(seconds=100),
)
videos = [Video(path, ("a",), weight=1.0 + path.stem.count("3")) for path in sorted(folder.glob("*.mp4"))]
clips = TrainingClips(videos, [index % 3 for index in range(7)], VARIED, seed=0)
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(5 * 3 * 32 * 32, 3)).double())
model.register_forward_pre_hook(lambda module, inputs: (inputs[0].double() / 255,))
"""


def gradient_of_an_epoch(videos: list[Video], folder: Path, world_size: int, batch_size: int) -> list[torch.Tensor]:
    """What every process of a world finds, summed over the steps, with the loop that docs/loading.md shows."""
    text = (ROOT / "docs" / "loading.md").read_text(encoding="utf-8")
    loop = text.split("```python\n")[1].split("```")[0]
    folder.mkdir()
    save = (
        f'torch.save(model.module[1].weight.grad, f"{folder}/{{rank}}.pt")\ntorch.distributed.destroy_process_group()\n'
    )
    source = Path(videos[0].path).parent
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORLD + loop + save, *map(str, (source, folder, rank, world_size, batch_size))],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * world_size, errors
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world_size)]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without its distributed package")
def test_the_documented_step_of_several_processes(videos: list[Video], tmp_path: Path) -> None:
    """Seven clips, six a step: alone 6 + 1; three processes 2 + 2 + 2, then 1 + 0 + 0, and nobody waits for ever."""
    (alone,) = gradient_of_an_epoch(videos, tmp_path / "alone", 1, 6)
    together = gradient_of_an_epoch(videos, tmp_path / "together", 3, 2)
    assert float(alone.norm()) > 0.1
    for gradient in together:
        assert torch.equal(gradient, together[0])
        torch.testing.assert_close(gradient, alone, rtol=1e-12, atol=1e-12)
