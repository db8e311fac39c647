"""`fewframes doctor`: nothing comes in; versions, devices and what does not work go out."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from fewframes.cli.output import json_document, parse, show_facts

__all__ = ["Options", "diagnose", "run"]

_PACKAGES = ("fewframes", "torch", "av", "numpy", "lightning-fabric", "safetensors", "matplotlib")


@dataclass(frozen=True)
class Options:
    """What is installed and whether it works: versions, decoder, devices, threads. Exit status 1 if something fails."""

    json: bool = False
    """Print JSON instead of a table."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, look, print. Returns 1 if something does not work."""
    options = parse(Options, arguments, program)
    facts = diagnose()
    if options.json:
        json_document(facts)
    else:
        show_facts({name: _text(value) for name, value in facts.items()})
    return 1 if facts["problems"] else 0


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def diagnose() -> dict[str, object]:
    """Versions, decoder, devices and threads as plain JSON values; "problems" lists what does not work."""
    problems: list[str] = []
    facts: dict[str, object] = {"python": f"{platform.python_version()} ({sys.executable})"}
    facts["platform"] = platform.platform()
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "missing"
            problems.append(f"{package} is not installed; run: pip install fewframes")
    facts |= _devices(problems)
    facts |= _decoder(problems)
    facts["cache"] = _cache(problems)
    facts["problems"] = problems
    return facts


def _devices(problems: list[str]) -> dict[str, object]:
    try:
        import torch
    except ImportError as error:
        problems.append(f"torch does not import: {error}")
        return {}
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "devices": devices,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
    }


def _decoder(problems: list[str]) -> dict[str, object]:
    """FFmpeg's versions, and whether a generated video comes back as it was written."""
    try:
        import av
    except ImportError as error:
        problems.append(f"PyAV does not import: {error}")
        return {}
    facts: dict[str, object] = {
        "ffmpeg": [f"{name} {'.'.join(map(str, number))}" for name, number in sorted(av.library_versions.items())],
        "codecs": [name for name in ("h264", "hevc", "vp9", "av1", "mpeg4") if name in av.codecs_available],
    }
    try:
        from fewframes.video.reader import open_video
        from fewframes.video.synthetic import encode_video, render_video

        frames, rate = render_video("rise", 0)
        with open_video(encode_video(frames, rate, 0)) as reader:
            found = reader.frames_at(range(reader.info.num_frames)).pixels.permute(0, 2, 3, 1).numpy()
        if found.shape != frames.shape or abs(found.astype(float) - frames).mean() > 8:
            problems.append("a generated H.264 video does not come back as it was written; reinstall av")
        facts["decoding"] = f"{len(found)} of {len(frames)} frames of a generated H.264 video read back"
    except Exception as error:  # noqa: BLE001 - whatever breaks here is the finding
        problems.append(f"reading a generated H.264 video fails: {type(error).__name__}: {error}")
    from fewframes.video.reader_torchcodec import describe_torchcodec

    facts["torchcodec"] = describe_torchcodec()
    return facts


def _cache(problems: list[str]) -> str:
    from fewframes.weights.download import cache_folder

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        problems.append(f"cannot write to {folder} ({error.strerror}); set FEWFRAMES_CACHE to another folder")
    return str(folder)
