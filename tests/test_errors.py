"""The errors: exit statuses, their tree, nearest names, and the way between processes."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from fewframes import errors
from fewframes.errors import (
    DownloadFailed,
    FewframesError,
    InvalidCheckpoint,
    InvalidManifest,
    TooManyBadVideos,
    TrainingFailed,
    TrainingStopped,
    UnknownName,
    UnreadableVideo,
    UnsafePickle,
    UsageError,
    WorkerDied,
)


@pytest.mark.parametrize(
    ("kind", "exit_status"),
    [
        (FewframesError, 1),
        (UsageError, 2),
        (UnknownName, 2),
        (UnreadableVideo, 1),
        (InvalidManifest, 1),
        (InvalidCheckpoint, 1),
        (UnsafePickle, 1),
        (DownloadFailed, 1),
        (TrainingFailed, 1),
        (TooManyBadVideos, 1),
        (WorkerDied, 1),
    ],
)
def test_exit_statuses(kind: type[FewframesError], exit_status: int) -> None:
    assert kind.exit_status == exit_status
    assert issubclass(kind, FewframesError)


def test_a_run_that_a_signal_ended_says_which() -> None:
    stopped = TrainingStopped("stopped by SIGTERM", 143)
    assert (str(stopped), stopped.exit_status) == ("stopped by SIGTERM", 143)
    again = pickle.loads(pickle.dumps(stopped))
    assert (type(again), str(again), again.exit_status) == (TrainingStopped, "stopped by SIGTERM", 143)


def test_the_tree() -> None:
    assert issubclass(UsageError, ValueError)
    assert issubclass(UnknownName, UsageError)
    assert issubclass(UnsafePickle, InvalidCheckpoint)
    assert not issubclass(UnreadableVideo, ValueError)


def test_every_kind_is_public_and_drawn() -> None:
    kinds = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(errors.__all__) == kinds
    assert errors.__doc__ is not None
    assert all(kind in errors.__doc__ for kind in kinds)


def test_a_near_name_is_suggested() -> None:
    error = UnknownName("model", "stam_61", ["stam_16", "vit_mean_16", "x"])
    assert str(error) == "unknown model 'stam_61'; did you mean 'stam_16'?"
    assert (error.kind, error.name, error.known) == ("model", "stam_61", ("stam_16", "vit_mean_16", "x"))


def test_several_near_names_are_suggested_best_first() -> None:
    error = UnknownName("model", "stam_1", ["stam_64", "stam_16", "vit"])
    assert str(error) == "unknown model 'stam_1'; did you mean 'stam_16' or 'stam_64'?"


def test_without_a_near_name_all_are_listed() -> None:
    assert str(UnknownName("model", "resnet", iter(["a", "b"]))) == "unknown model 'resnet'; known: a, b"


def test_an_unreadable_video_names_path_and_reason() -> None:
    error = UnreadableVideo("a: b.mp4", "no video stream")
    assert str(error) == "cannot read a: b.mp4: no video stream"
    assert (error.path, error.reason) == ("a: b.mp4", "no video stream")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_unreadable_video_can_be_pickled(protocol: int) -> None:
    error = pickle.loads(pickle.dumps(UnreadableVideo("clip.mp4", "cut short"), protocol=protocol))
    assert type(error) is UnreadableVideo
    assert (error.path, error.reason) == ("clip.mp4", "cut short")
    assert str(error) == "cannot read clip.mp4: cut short"


def fail(path: str) -> None:
    raise UnreadableVideo(path, "cut short")


def test_an_unreadable_video_comes_back_from_a_worker() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(UnreadableVideo, match=r"^cannot read clip\.mp4: cut short$") as caught,
    ):
        pool.submit(fail, "clip.mp4").result(timeout=60)
    assert caught.value.path == "clip.mp4"


def test_other_errors_can_be_pickled() -> None:
    for kind in (UsageError, InvalidManifest, InvalidCheckpoint, DownloadFailed, TrainingFailed, WorkerDied):
        assert str(pickle.loads(pickle.dumps(kind("text")))) == "text"
    error = pickle.loads(pickle.dumps(UnknownName("model", "stam_61", ["stam_16"])))
    assert (str(error), error.known) == ("unknown model 'stam_61'; did you mean 'stam_16'?", ("stam_16",))
    many = pickle.loads(pickle.dumps(TooManyBadVideos("too many", [1, 2])))
    assert (type(many), str(many), many.failures) == (TooManyBadVideos, "too many", (1, 2))
