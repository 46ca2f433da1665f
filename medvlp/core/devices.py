"""The device that a model runs on, chosen with its reason, which is logged once."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from medvlp.core import collectives
from medvlp.core.errors import ConfigError, UserError


@dataclass(frozen=True)
class Choice:
    """The chosen device and the reason for it."""

    device: torch.device
    reason: str


def choose_device(wish: str, *, where: str = "device") -> Choice:
    """Return the device of a name: auto, cpu, mps, cuda (of several this process's own) or cuda:1.

    Raises:
        ConfigError: if it is not there, naming the option `where`.

    Example:
        >>> choose_device("cpu").reason
        'asked for'
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    single = collectives.world_size() == 1  # nothing that torch.distributed has sends tensors of mps
    counts = {"cuda": gpus, "mps": int(single and torch.backends.mps.is_available()), "cpu": 1}
    kinds = [name for name, count in counts.items() if count]
    if wish == "auto":
        others = "cuda, mps, cpu" if single else "cuda, cpu"
        return Choice(local_device(kinds[0]), f"the first of {others} that this machine has is {kinds[0]}")
    if wish in kinds:
        return Choice(local_device(wish), "asked for")
    numbered = [f"{name}:{number}" for name, count in counts.items() for number in range(count)]
    if wish not in numbered:
        have, several = ", ".join([*kinds, *numbered[:gpus]]), "" if single else " for several processes"
        raise ConfigError(f"{where} is {wish!r}, but torch sees none{several}: choose one of auto, {have}.")
    return Choice(torch.device(wish), "asked for")


def local_device(choice: str) -> torch.device:
    """Return this process's device of the chosen kind: one CUDA device a process.

    Raises:
        UserError: if the machine has fewer of them.
    """
    if choice == "cuda":
        number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if number >= count:
            raise UserError(
                f"Process {number} of this machine needs a GPU of its own, and torch sees {count}: start no more "
                "processes than there are, or choose the device cpu."
            )
        return torch.device("cuda", number)
    return torch.device(choice)
