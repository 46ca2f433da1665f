"""Which compressed pixels can be read here: 8 x 8 of them in each coding, through the decoder that reading uses."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medvlp.io.codecs import decode_jpeg_family, decode_rle, probe_codestream
from medvlp.io.errors import UnreadableImage

_STREAMS = Path(__file__).with_name("decoder_streams.json")  # coding -> base64 of the ramp below
_RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)  # the lossy one comes back within a level of 8
_LEVEL = 8


def decoder_states() -> dict[str, str]:
    """Return for each coding of pixels why it cannot be read here; empty where it is read rightly.

    Example:
        >>> decoder_states()["JPEG, lossless"]
        ''
    """
    streams: dict[str, str] = json.loads(_STREAMS.read_text())
    asked: dict[str, Callable[[], np.ndarray]] = {name: _of(text) for name, text in streams.items()}
    # A header that says where the one segment begins, and a run of 64 plain bytes.
    run = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x3f" + _RAMP.tobytes()
    asked["RLE"] = lambda: decode_rle(run, rows=8, columns=8, samples=1, bits_allocated=8)
    return {name: _state(decode, exact=name != "JPEG") for name, decode in asked.items()}


def _of(text: str) -> Callable[[], np.ndarray]:
    data = base64.b64decode(text)
    return lambda: decode_jpeg_family(data, probe_codestream(data), to_rgb=False)


def _state(decode: Callable[[], np.ndarray], *, exact: bool) -> str:
    try:
        found = decode()
    except ImportError as error:
        return f"no decoder is installed: pip install {error.name}"
    except UnreadableImage as error:
        return f"{error.detail}; {error.hint}"
    off = int(np.abs(found.astype(np.int64) - _RAMP).max()) if found.shape == _RAMP.shape else 256
    return "" if off < (1 if exact else _LEVEL) else "its decoder gives other pixels than were coded: install it again"
