"""Running means of a teacher's rows over all processes: the centres of DINO and its kin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medvlp.core import collectives
from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key, keys, parse_key


class Centres:
    """c <- e c + (1 - e) mean of a step's rows over all processes, e = exp(-samples / horizon), of each part from 0 on.

    Args:
        rows: keys of the teacher's own rows, without its name; views share the centre of a part.
        horizon: in samples.
        teacher: its name.

    Raises:
        ConfigError: if the horizon is not positive, or a key names no part of a view.
    """

    def __init__(self, rows: Sequence[str], *, horizon: float, teacher: str) -> None:
        if not horizon > 0:
            raise ConfigError(f"centre_horizon of state 'ema' is {horizon}: use a number of samples above 0.")
        self.horizon = horizon
        self._keys: dict[str, list[str]] = {}
        for key in map(parse_key, rows):
            if key.who or not key.part:
                raise ConfigError(
                    f"centre of state 'ema' names {str(key)!r}: name view/part of the teacher's own rows."
                )
            self._keys.setdefault(key.part, []).append(f"{teacher}:{key}")
        self._centres: dict[str, Tensor] = {}
        self._coming: dict[str, Tensor] = {}

    def needs(self) -> frozenset[Key]:
        """The rows."""
        return keys(*(key for group in self._keys.values() for key in group))

    def of(self, part: str) -> Tensor:
        """Return the centre of a part, (D,); one zero, (1,), before the first step.

        Raises:
            ConfigError: for a part that has none.
        """
        if part not in self._keys:
            raise ConfigError(f"The teacher keeps no centre of {part!r}: name its keys in centre of the state.")
        return self._centres.get(part, torch.zeros(1))

    def observe(self, ctx: Context) -> None:
        """Put the mean of a step's rows aside."""
        self._coming = {}
        for part, group in self._keys.items():
            rows = torch.cat([ctx[key].flatten(0, -2) for key in group])
            count = collectives.total(torch.tensor(float(len(rows)), dtype=rows.dtype, device=rows.device))
            if float(count):
                self._coming[part] = collectives.total(rows.sum(dim=0)) / count

    def after_step(self, samples: float) -> None:
        """Move the centres, after a step of that many samples."""
        gain = -math.expm1(-samples / self.horizon)
        for part, mean in self._coming.items():
            before = self._centres.get(part, torch.zeros_like(mean))
            self._centres[part] = before.lerp(mean.to(before), gain)
        self._coming = {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the centres."""
        return {f"centre|{part}": tensor for part, tensor in self._centres.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Restore what `state_dict` returned, on a device."""
        saved = {name.partition("|")[2]: tensor for name, tensor in tensors.items() if name.startswith("centre|")}
        self._centres = {part: tensor.to(device, copy=True) for part, tensor in saved.items()}
