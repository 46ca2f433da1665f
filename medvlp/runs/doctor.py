"""What `medvlp doctor` shows."""

from __future__ import annotations

import os
from collections.abc import Iterator

from medvlp.core.devices import choose_device
from medvlp.core.provenance import environment
from medvlp.data.cache import cache_info
from medvlp.io.codecs import decoder_states
from medvlp.training.precision import choose_precision


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
    for coding, fault in decoder_states().items():
        yield coding, f"cannot be read ({fault})" if fault else "is read"
    cache = cache_info()
    yield "cache", f"{cache.folder}: {cache.bytes / 1e6:.1f} MB of at most {cache.cap / 1e6:.0f} MB, patients' pixels"
    mode = cache.folder.stat().st_mode & 0o777
    yield "cache is private", "yes" if mode == 0o700 else f"no (mode {mode:o}): chmod 700 {cache.folder}"
    yield "processes", f"WORLD_SIZE={os.environ.get('WORLD_SIZE', '1')}"
