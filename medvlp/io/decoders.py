"""Which compressed pixels can be read here: 8 x 8 of them in each coding, through the decoder that reading uses."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable

import numpy as np

from medvlp.io.codecs import decode_jpeg_family, decode_rle, probe_codestream
from medvlp.io.errors import UnreadableImage

__all__ = ["decoder_states"]

# A ramp, 4 * (8 * row + column); the lossy one comes back within a level of 8.
_RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
_LEVEL = 8
_STREAMS: dict[str, str] = {
    "JPEG": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAIBAQEBAQIBAQECAgICAgQDAgICAgUEBAMEBgUGBgYFBgYGBwkIBgcJBwYGCAsICQoKCgoKBggLDAsK"
        "DAkKCgr/wAALCAAIAAgBAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEG"
        "E1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJ"
        "ipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/AK/w2/4NuP8A"
        "V/8AFBen/Lt/9av/2Q=="
    ),
    "JPEG, lossless": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/wwALCAAIAAgBAREA/8QAFgABAQEAAAAAAAAAAAAAAAAAAwYI/9oACAEBAAEAAM/oiIiJQIiIiJQIiIiJQIiI"
        "iJQIiIiJQIiIiJQIiIiJQIiIiJ//2Q=="
    ),
    "JPEG-LS": (
        "/9j/6AAgU1BJRkYAAgAAAQAAAAgAAAAICggGAQAAASwAAAEs/+gACAAAAAH/2P/3AAsIAAgACAEBEQD/2gAIAQEAAAAAnd1/cAAIRk2xAAAkqpn1"
        "XR5/nX+cf5t/AP/Z"
    ),
    "JPEG 2000": (
        "/0//UQApAAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAABBwEB/1IADAAAAAEAAAQEAAH/XAAEQED/ZAAlAAFDcmVhdGVkIGJ5IE9w"
        "ZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAAA7AAH/k9+BUBIrAwsLE+S5L4U/OFCCoRT/VnHDc30kzjC9vXJjPurEavNMOjl9iy72V//Z"
    ),
    "JPEG 2000, high speed": (
        "/0//UQApQAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAABBwEB/1AACAACAAAAAv9SAAwAAgABAAUEBEAB/1wAEyBIUFBQUFBQUFBQ"
        "UFBQSEhI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAEkAAf+TwCXbAId0AAAAwBLAEoDiAAd0ACIBh3QAwBLAEwAAAMJ0AI6OAENU"
        "AMAlgFSAqqnidAC+9/7AAAHstgD/2Q=="
    ),
}


def decoder_states() -> dict[str, str]:
    """Return for each coding of pixels why it cannot be read here; empty where it is read rightly.

    Example:
        >>> decoder_states()["JPEG, lossless"]
        ''
    """
    asked: dict[str, Callable[[], np.ndarray]] = {name: _of(text) for name, text in _STREAMS.items()}
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
