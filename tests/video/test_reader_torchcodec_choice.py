"""Which decoder is chosen, and what is said if it is not there; none of this needs torchcodec."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from fewframes.errors import UsageError
from fewframes.records import DecodeOptions
from fewframes.video import reader_torchcodec
from fewframes.video.reader_torchcodec import TorchcodecBackend, choose_decoder, describe_torchcodec, probe_torchcodec
from fewframes.video.source import resolve_source

CPU = DecodeOptions(decoder="torchcodec")
SOURCE = resolve_source(b"opened only if the decoder is there")


def fake(monkeypatch: pytest.MonkeyPatch, *, found: bool = True, loads: object = None) -> None:
    """Let the probe find this instead of what is installed; `loads` is an error or the two modules."""

    def load() -> object:
        if isinstance(loads, Exception):
            raise loads
        return loads

    monkeypatch.setattr(reader_torchcodec.importlib.util, "find_spec", lambda _: SimpleNamespace() if found else None)
    monkeypatch.setattr(reader_torchcodec, "_import_torchcodec", load)


def modules(*names: str, ffmpeg: int | None = 7) -> tuple[object, ModuleType]:
    decoders = ModuleType("decoders")
    for name in names:
        setattr(decoders, name, object())
    return SimpleNamespace(ffmpeg_major_version=ffmpeg), decoders


@pytest.mark.parametrize(
    ("found", "loads", "reason"),
    [
        (False, None, r"^torchcodec is not installed; pip install 'fewframes\[torchcodec\]'$"),
        (
            True,
            OSError("a.so: undefined symbol: x\nmore"),
            r"does not load with torch 2\S+ \(a.so: undefined symbol: x\);",
        ),
        (
            True,
            RuntimeError("Could not load"),
            r"\(Could not load\); install versions of the two that belong together$",
        ),
        (True, ImportError("no module"), "does not load"),
        (True, modules("VideoDecoder"), r"is too old; .* brings 0.17 or newer$"),
        (
            True,
            modules("Demuxer", "RawFrame", ffmpeg=None),
            "finds no shared FFmpeg libraries .* apt-get install ffmpeg$",
        ),
    ],
    ids=["absent", "symbol", "runtime", "import", "old", "no FFmpeg"],
)
def test_the_probe_says_in_one_line_what_is_missing(
    found: bool, loads: object, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, found=found, loads=loads)
    said = probe_torchcodec.__wrapped__()
    assert said is not None
    assert "\n" not in said
    with pytest.raises(UsageError, match=reason):
        raise UsageError(said)


def test_the_probe_is_content_and_its_report_names_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, loads=modules("Demuxer", "RawFrame"))
    assert probe_torchcodec.__wrapped__() is None
    monkeypatch.setattr(reader_torchcodec, "probe_torchcodec", lambda: None)
    monkeypatch.setattr(reader_torchcodec, "_version", lambda name: f"0.17 of {name}")
    assert describe_torchcodec() == "torchcodec 0.17 of torchcodec with FFmpeg 7"
    monkeypatch.setattr(reader_torchcodec, "probe_torchcodec", lambda: "it is not there")
    assert describe_torchcodec() == "it is not there"


@pytest.mark.parametrize("works", [True, False])
def test_what_is_chosen(works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_torchcodec, "probe_torchcodec", lambda: None if works else "it is gone; get it")
    assert choose_decoder(DecodeOptions()) == "pyav"
    assert choose_decoder(DecodeOptions(decoder="auto")) == "pyav"
    if works:
        assert choose_decoder(CPU) == "torchcodec"
    else:
        with pytest.raises(UsageError, match=r"^the decoder torchcodec was asked for, but it is gone; get it$"):
            choose_decoder(CPU)
        with pytest.raises(UsageError, match=r"^decoding on 'cuda' was asked for, but it is gone; get it$"):
            choose_decoder(DecodeOptions(decoder="auto", device="cuda"))
        with pytest.raises(UsageError, match="it is gone"):
            TorchcodecBackend(SOURCE, CPU)


@pytest.mark.parametrize("device", ["gpu", "mps", "", "CUDA", "cpu:0"])
@pytest.mark.parametrize("decoder", ["pyav", "torchcodec", "auto"])
def test_unknown_devices_are_refused(decoder: str, device: str) -> None:
    with pytest.raises(UsageError, match=rf"device is '{device}'; expected 'cpu', 'cuda' or 'cuda:0'"):
        choose_decoder(DecodeOptions(decoder=decoder, device=device))  # type: ignore[arg-type]


def test_pyav_does_not_decode_on_a_gpu() -> None:
    with pytest.raises(UsageError, match="pyav decodes on the CPU, not on 'cuda'; use decoder torchcodec"):
        choose_decoder(DecodeOptions(device="cuda"))


@pytest.mark.parametrize(
    ("device", "count", "fits"),
    [
        *(("cuda", 0, False), ("cuda", 1, True), ("cuda:0", 1, True), ("cuda:1", 1, False), ("cuda:1", 2, True)),
        *(("cuda:x", 9, False), ("cuda:-1", 9, False)),
    ],
)
def test_the_gpu_must_be_there(device: str, count: int, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_torchcodec, "probe_torchcodec", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    options = DecodeOptions(decoder="torchcodec", device=device)
    if fits:
        assert choose_decoder(options) == "torchcodec"
    else:
        with pytest.raises(UsageError, match=f"device is '{device}', but torch finds {count} GPUs; use device 'cpu'"):
            choose_decoder(options)


def test_torchcodec_is_not_imported_unless_asked_for() -> None:
    code = (
        "import sys\n"
        "from fewframes.records import DecodeOptions\n"
        "from fewframes.video.reader_torchcodec import choose_decoder\n"
        "assert choose_decoder(DecodeOptions()) == 'pyav'\n"
        "assert not {'torchcodec', 'torch'} & set(sys.modules), 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
