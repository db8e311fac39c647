"""The options that say how videos are decoded: flags come in, `DecodeOptions` go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fewframes.records import DecodeOptions, Limits

__all__ = ["DecodeFlags"]

_LIMITS = Limits()


@dataclass(frozen=True)
class DecodeFlags:
    """How videos are decoded; the same flags for every command that reads them."""

    decoder: Literal["pyav", "torchcodec", "auto"] = "pyav"
    """What decodes: pyav is always there; torchcodec needs its extra and FFmpeg; auto takes it for a GPU."""
    seek: Literal["exact", "keyframe"] = "exact"
    """Which frames: exact ones, or the nearest keyframe at or before each, which costs less and is less exact."""
    decode_device: str = "cpu"
    """Where torchcodec decodes: cpu or cuda. Colours on cuda were never compared."""
    max_pixels: int = _LIMITS.max_pixels
    """Refuse videos with larger frames, before memory is taken for one."""
    max_frames: int = _LIMITS.max_frames
    """Refuse videos with more frames."""
    max_buffer_bytes: int = _LIMITS.max_buffer_bytes
    """Refuse sources that must be kept in memory whole (standard input, pipes) and are longer."""

    def options(self) -> DecodeOptions:
        """The same as a record."""
        limits = Limits(self.max_pixels, self.max_frames, self.max_buffer_bytes)
        return DecodeOptions(self.decoder, self.seek, self.decode_device, limits)
