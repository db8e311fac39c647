"""Small annotation files and empty video files, as the published ones are laid out."""

from __future__ import annotations

from pathlib import Path

from fewframes.data.manifest import Manifest
from fewframes.data.manifest_io import read_manifest, write_manifest

__all__ = ["assert_survives_writing", "put", "touch"]


def put(path: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def touch(folder: Path, *names: str) -> Path:
    """A folder that holds empty files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        put(folder / name, b"")
    return folder


def assert_survives_writing(manifest: Manifest, folder: Path) -> None:
    """Fail unless every row and the order of the classes come back from the file that is written of them."""
    for suffix in (".csv", ".jsonl"):
        again = read_manifest(write_manifest(manifest, folder / f"written{suffix}"))
        assert again.videos == manifest.videos
        assert again.classes == manifest.classes
        assert again.labels == manifest.labels
