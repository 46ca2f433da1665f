"""Versions of the libraries that can change a decoded pixel: what is kept of pixels is kept under them."""

from __future__ import annotations

from importlib import metadata

__all__ = ["decoder_versions"]

_DECODERS = ("numpy", "torch", "scipy", "pillow", "pydicom", "pylibjpeg-openjpeg", "pyjpegls", "imagecodecs")


def decoder_versions() -> dict[str, str]:
    """Return the version of each, empty where it is not installed.

    Example:
        >>> "pydicom" in decoder_versions()
        True
    """
    found = {}
    for name in _DECODERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found
