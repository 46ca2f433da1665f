"""Every draw is a function of (seed, position, name): there is no worker, process or restart to change it.

The price is one hash a draw site (about a microsecond); what it buys is that a sample, an augmentation or a phantom
file can be made again, alone, on any machine.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["numpy_generator", "seed_of", "torch_generator"]


def seed_of(seed: int, position: int, name: str) -> int:
    """Return the 63-bit seed that belongs to a draw.

    Args:
        seed: the run's seed.
        position: place in the run's sample stream (or any index that identifies the thing drawn for).
        name: what is drawn, so that two draws at one position are independent.

    Example:
        >>> seed_of(0, 7, "crop") == seed_of(0, 7, "crop"), seed_of(0, 7, "crop") == seed_of(0, 8, "crop")
        (True, False)
    """
    digest = hashlib.blake2b(f"{seed}\x1f{position}\x1f{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_generator(seed: int, position: int, name: str) -> np.random.Generator:
    """Return a NumPy generator for the draw (Philox, whose stream is the same on every platform).

    Example:
        >>> int(numpy_generator(0, 7, "crop").integers(1000)) == int(numpy_generator(0, 7, "crop").integers(1000))
        True
    """
    import numpy as np

    return np.random.Generator(np.random.Philox(seed_of(seed, position, name)))


def torch_generator(seed: int, position: int, name: str) -> torch.Generator:
    """Return a torch CPU generator for the draw.

    Example:
        >>> import torch
        >>> a, b = (torch.rand(2, generator=torch_generator(0, 7, "crop")) for _ in range(2))
        >>> bool((a == b).all())
        True
    """
    import torch

    return torch.Generator().manual_seed(seed_of(seed, position, name))
