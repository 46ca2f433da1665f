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


def seed_of(seed: int, position: int, name: str) -> int:
    """Return the 63-bit seed that belongs to a draw.

    Args:
        seed: the run's seed.
        position: place in the run's sample stream (or any index that identifies the thing drawn for).
        name: what is drawn, so that two draws at one position are independent.
    """
    digest = hashlib.blake2b(f"{seed}\x1f{position}\x1f{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_generator(seed: int, position: int, name: str) -> np.random.Generator:
    """Return a NumPy generator for the draw (Philox, whose stream is the same on every platform)."""
    import numpy as np

    return np.random.Generator(np.random.Philox(seed_of(seed, position, name)))


def torch_generator(seed: int, position: int, name: str) -> torch.Generator:
    """Return a torch CPU generator for the draw."""
    import torch

    return torch.Generator().manual_seed(seed_of(seed, position, name))


def some_of(count: int, most: int, generator: torch.Generator) -> list[int]:
    """Return at most so many of the numbers below `count`, each as likely as another, in their order.

    Example:
        >>> some_of(3, 5, torch_generator(0, 0, "sentences"))
        [0, 1, 2]
    """
    import torch

    order = torch.rand(count, generator=generator).tolist()
    return sorted(sorted(range(count), key=order.__getitem__)[:most])


def hashed_uniform(seed: int, name: str, count: int, position: np.ndarray, *more: np.ndarray) -> np.ndarray:
    """Return (R, count) draws in [0, 1), float32: each row a hash (splitmix64, Steele et al. 2014) of its own numbers.

    Args:
        seed: of the run.
        name: what is drawn.
        count: draws a row.
        position: (R,) int64, place of each row's sample in the run's sample stream.
        more: further (R,) int64 that tell rows of one position apart.

    Example:
        >>> import numpy as np
        >>> two = hashed_uniform(0, "drop", 3, np.array([5, 9]))
        >>> bool((hashed_uniform(0, "drop", 3, np.array([9]))[0] == two[1]).all())
        True
    """
    import numpy as np

    with np.errstate(over="ignore"):
        word = position.astype(np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed_of(seed, 0, name))
        word = _mixed(word)
        for number in more:
            word = _mixed(word + number.astype(np.uint64)[:, None])
        word = _mixed(word + np.arange(1, count + 1, dtype=np.uint64)[None, :] * np.uint64(0xD1B54A32D192ED03))
    return (word >> np.uint64(40)).astype(np.float32) / np.float32(2**24)  # 24 bits, exact in float32


def _mixed(word: np.ndarray) -> np.ndarray:
    import numpy as np

    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
