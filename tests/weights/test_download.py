"""Published weights, fetched from a server on this machine."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from fewframes.catalog import CATALOG, card_of
from fewframes.errors import DownloadFailed, InvalidCheckpoint, UsageError
from fewframes.models.stam import Stam
from fewframes.predict import Classifier
from fewframes.records import Preprocess, Sampling
from fewframes.weights.download import cache_folder, find_weights, kept_at
from fewframes.weights.files import sha256_of
from tests.weights.release import TINY, release_tensors


def _weights_file() -> bytes:
    """A PyTorch file of 2.26 MB: more than two chunks, not a multiple of one."""
    file = io.BytesIO()
    torch.save({"model": {"x": torch.arange(565_001, dtype=torch.float32)}}, file)
    return file.getvalue()


CONTENT = _weights_file()


class Server(ThreadingHTTPServer):
    """Serves /good.pth, ends /short.pth early, does not state /unsized.pth's length, knows nothing else."""

    content = CONTENT
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.content
        self.server.asked.append(self.path)
        if self.path not in ("/good.pth", "/short.pth", "/unsized.pth", "/strange.pth"):
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unsized.pth":
            stated = "many" if self.path == "/strange.pth" else str(len(content))
            self.send_header("Content-Length", stated)
        self.end_headers()
        self.wfile.write(content[:-17] if self.path == "/short.pth" else content)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FEWFRAMES_CACHE", str(folder))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


def publish(monkeypatch: pytest.MonkeyPatch, url: str, **changes: object) -> None:
    """Let stam_16's weights be at this address."""
    cards = {**CATALOG, "stam_16": dataclasses.replace(CATALOG["stam_16"], weights_url=url, **changes)}
    for module in ("fewframes.catalog", "fewframes.weights.download"):
        monkeypatch.setattr(f"{module}.CATALOG", MappingProxyType(cards))


def address(server: Server, name: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{name}"


def test_a_download_is_kept(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(monkeypatch, address(server, "good.pth"))
    path = find_weights("stam_16")
    assert path == cache / "stam_16.pth"
    assert path.read_bytes() == CONTENT
    assert (cache / "stam_16.pth.sha256").read_text() == sha256_of(path) + "\n"
    assert sorted(each.name for each in cache.iterdir()) == ["stam_16.pth", "stam_16.pth.sha256"]
    assert find_weights("stam_16") == path
    assert server.asked == ["/good.pth"]
    printed = capsys.readouterr()
    assert printed.out == "", "standard output belongs to results"
    assert "stam_16.pth" in printed.err


def test_a_download_of_unstated_length(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, address(server, "unsized.pth"))
    assert find_weights("stam_16").read_bytes() == CONTENT


def test_a_kept_file_that_has_changed(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, address(server, "good.pth"))
    path = find_weights("stam_16")
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(InvalidCheckpoint, match=r"stam_16\.pth has changed since .* delete it to download it again"):
        find_weights("stam_16")
    path.unlink()
    assert find_weights("stam_16").read_bytes() == CONTENT
    assert server.asked == ["/good.pth"] * 2


def test_a_file_put_there_by_hand(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, address(server, "good.pth"))
    cache.mkdir()
    (cache / "stam_16.pth").write_bytes(b"by hand")
    assert find_weights("stam_16").read_bytes() == b"by hand"
    assert server.asked == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("short.pth", rf"short\.pth ended after {len(CONTENT) - 17} of {len(CONTENT)} bytes; try again"),
        ("none.pth", r"cannot download http://127\.0\.0\.1:\d+/none\.pth \(Not Found\)"),
        ("strange.pth", r"cannot download http://127\.0\.0\.1:\d+/strange\.pth \(invalid literal"),
    ],
)
def test_a_download_that_fails(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    publish(monkeypatch, address(server, name))
    with pytest.raises(DownloadFailed, match=message) as caught:
        find_weights("stam_16")
    assert f"put the file at {cache / 'stam_16.pth'} and run again" in str(caught.value)
    assert list(cache.iterdir()) == [], "nothing half-fetched stays"


def test_a_server_that_does_not_answer(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    publish(monkeypatch, f"http://127.0.0.1:{port}/good.pth")
    with pytest.raises(DownloadFailed, match=r"Connection refused.*put the file at .*stam_16\.pth and run again"):
        find_weights("stam_16")


def test_a_cache_that_cannot_be_written(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, address(server, "good.pth"))
    cache.write_text("a file where the folder should be")
    with pytest.raises(DownloadFailed, match=r"cannot keep .*stam_16\.pth .*FEWFRAMES_CACHE"):
        find_weights("stam_16")


def test_paths_pass(cache: Path, tmp_path: Path) -> None:
    assert find_weights(tmp_path / "mine.pth") == tmp_path / "mine.pth"
    assert find_weights("not/there.pth") == Path("not/there.pth")
    (tmp_path / "stam_16").touch()  # a file of that name in the current folder is meant
    assert find_weights("stam_16") == Path("stam_16")


@pytest.mark.parametrize("name", ["stam_4", "vit_mean_16"])
def test_a_model_without_published_weights(cache: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"no weights were published for {name}; train it, or name a file of your own"):
        find_weights(name)


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setenv("FEWFRAMES_CACHE", "/here")
    assert cache_folder() == Path("/here")
    monkeypatch.delenv("FEWFRAMES_CACHE")
    assert cache_folder() == Path("/somewhere/fewframes")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/fewframes")


def test_from_a_name_to_a_classifier(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.save({"model": release_tensors(TINY)}, tmp_path / "tiny.pth")
    server.content = (tmp_path / "tiny.pth").read_bytes()
    publish(
        monkeypatch,
        address(server, "good.pth"),
        config=TINY,
        sampling=Sampling("uniform", 8),
        preprocess=Preprocess((12, 12), 13),
    )
    classifier = Classifier.load("stam_16")
    assert isinstance(classifier.model, Stam)
    assert classifier.load_report is not None
    assert classifier.load_report.layout == "STAM release"
    assert torch.equal(classifier.model.head.weight, release_tensors(TINY)["head.weight"])
    assert classifier.info.provenance["weights"] == str(cache / "stam_16.pth")
    assert classifier.info.labels[12] == "class 12"


def test_a_page_that_says_sorry_with_status_200_is_not_kept(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = b"<!DOCTYPE html><title>Sign in</title>"
    publish(monkeypatch, address(server, "good.pth"))
    with pytest.raises(DownloadFailed, match=r"holds no weights .* get the file elsewhere"):
        find_weights("stam_16")
    assert list(cache.iterdir()) == []


def test_no_two_files_are_kept_at_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A dozen authors call theirs pytorch_model.bin: kept under that name, one model would get another's weights."""
    monkeypatch.setenv("FEWFRAMES_CACHE", str(tmp_path))
    cards = [card for card in CATALOG.values() if card.weights_url]
    assert len({kept_at(card) for card in cards}) == len(cards)
    assert kept_at(card_of("stam_16")) == tmp_path / "stam_16.pth"
    assert kept_at(card_of("timesformer_base_k400")) == tmp_path / "timesformer_base_k400.bin"
