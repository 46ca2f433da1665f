"""First weights as a function of (seed, name): adding a head or another text tower leaves the image tower as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from medvlp.core.randomness import seed_of


@contextmanager
def seeded(seed: int, name: str) -> Iterator[None]:
    """Run a constructor with its own random stream and leave the global one as it was found.

    Initialisers of torch, timm and transformers draw from the global CPU generator, so it is borrowed, not avoided.
    """
    state = torch.random.get_rng_state()
    torch.random.default_generator.manual_seed(seed_of(seed, 0, name))
    try:
        yield
    finally:
        torch.random.set_rng_state(state)
