"""What `medvlp doctor` shows."""

from __future__ import annotations

import os
from collections.abc import Iterator

from medvlp.core.provenance import environment
from medvlp.data.cache import cache_info
from medvlp.training.precision import choose_device, choose_precision

__all__ = ["checks"]


def checks() -> Iterator[tuple[str, str]]:
    """Yield (what, how it stands)."""
    found = environment()
    for key in ("medvlp", "code", "python", "system", "cores"):
        yield key, str(found[key])
    packages = found["packages"]
    for name, version in packages.items() if isinstance(packages, dict) else ():
        yield name, str(version)
    device = choose_device("auto")
    yield "device", f"{device.device} ({device.reason})"
    precision = choose_precision("auto", device.device)
    yield "precision", f"{precision.dtype} ({precision.reason})"
    yield from _decoders()
    cache = cache_info()
    yield "cache", f"{cache.folder}: {cache.bytes / 1e6:.1f} MB of at most {cache.cap / 1e6:.0f} MB, patients' pixels"
    mode = cache.folder.stat().st_mode & 0o777
    yield "cache is private", "yes" if mode == 0o700 else f"no (mode {mode:o}): chmod 700 {cache.folder}"
    yield "processes", f"WORLD_SIZE={os.environ.get('WORLD_SIZE', '1')}"


def _decoders() -> Iterator[tuple[str, str]]:
    from pydicom.pixels import get_decoder
    from pydicom.uid import HTJ2K, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLossless, JPEGLSLossless, RLELossless

    for uid in (RLELossless, JPEGBaseline8Bit, JPEGLossless, JPEGLSLossless, JPEG2000Lossless, HTJ2K):
        decoder = get_decoder(uid)
        plugins = ", ".join(decoder.available_plugins)
        yield uid.name[:23], f"decoded by {plugins}" if decoder.is_available else "no decoder installed"
