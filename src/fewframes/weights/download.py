"""Published weights: a catalogue name comes in, a file in the local cache goes out."""

from __future__ import annotations

import os
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from fewframes.cards.card import ModelCard
from fewframes.catalog import CATALOG, card_of
from fewframes.errors import DownloadFailed, InvalidCheckpoint, UsageError
from fewframes.weights.files import read_tensors, sha256_of

__all__ = ["cache_folder", "find_weights", "kept_at"]

_CHUNK = 1 << 20


def cache_folder() -> Path:
    """Where downloads are kept: $FEWFRAMES_CACHE, or fewframes under $XDG_CACHE_HOME or ~/.cache."""
    if "FEWFRAMES_CACHE" in os.environ:
        return Path(os.environ["FEWFRAMES_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fewframes"


def kept_at(card: ModelCard) -> Path:
    """Where a model's published weights are kept: under its own name, as many authors call their file the same."""
    assert card.weights_url is not None
    return cache_folder() / f"{card.name}{Path(urllib.parse.urlsplit(card.weights_url).path).suffix}"


def find_weights(source: str | Path) -> Path:
    """A path as it is, or the published weights of a catalogue name, downloaded once and kept.

    A download is complete when its length is what the server stated and it holds tensors; its SHA-256 is then written
    beside it, and checked whenever the file is used again.

    Raises:
        DownloadFailed: no network, or the server does not have the file; says where to put it by hand.
        InvalidCheckpoint: the kept file is not what was downloaded.
        UsageError: no weights were published under that name.
    """
    if Path(source).exists() or str(source) not in CATALOG:
        return Path(source)
    card = card_of(str(source))
    if card.weights_url is None:
        raise UsageError(f"no weights were published for {card.name}; train it, or name a file of your own")
    path = kept_at(card)
    stated = path.with_name(path.name + ".sha256")
    if not path.exists():
        _download(card.weights_url, path)
        stated.write_text(sha256_of(path) + "\n", encoding="ascii")
    elif stated.exists() and stated.read_text(encoding="ascii").strip() != sha256_of(path):
        raise InvalidCheckpoint(f"{path} has changed since it was downloaded; delete it to download it again")
    return path


def _download(url: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadFailed(f"cannot keep {path} ({error.strerror}); set FEWFRAMES_CACHE to another folder") from error
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    progress_bar = Progress(console=Console(stderr=True))  # standard output belongs to results
    try:
        with urllib.request.urlopen(url, timeout=30) as response, partial.open("wb") as file, progress_bar as progress:
            stated = int(response.headers.get("Content-Length", 0))
            task = progress.add_task(f"Downloading {path.name}", total=stated or None)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
        if stated and partial.stat().st_size != stated:
            raise DownloadFailed(
                f"{url} ended after {partial.stat().st_size} of {stated} bytes; "
                f"try again, or put the file at {path} and run again"
            )
        _check_content(url, partial)
        partial.replace(path)
    except (OSError, ValueError, HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", error)
        raise DownloadFailed(f"cannot download {url} ({reason}); put the file at {path} and run again") from error
    finally:
        partial.unlink(missing_ok=True)


def _check_content(url: str, partial: Path) -> None:
    """Raise if what came is no weights file, such as a page that says sorry with status 200."""
    try:
        read_tensors(partial)
    except InvalidCheckpoint as error:
        raise DownloadFailed(f"what {url} sent holds no weights ({error}); get the file elsewhere") from error
