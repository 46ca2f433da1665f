"""A teacher that is the exponential moving average of the student."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.core.keys import Key
from medvlp.core.protocols import Model
from medvlp.core.registry import FromModel
from medvlp.core.schedules import Number, Ramp, mean_between
from medvlp.state._centres import Centres
from medvlp.state._model_teacher import ModelTeacher, load_tensors, move_tensors, save_tensors, tensors_of


class Ema(ModelTeacher):
    """theta_teacher <- d theta_teacher + (1 - d) theta_student after each step, d = exp(-samples / horizon).

    After `horizon` samples a student's weight in the average has fallen to 1/e: per step of 4,096 samples the customary
    d = 0.996 is a horizon of 1.02 million. Parameters and floating buffers are averaged, counters are copied.

    A ramp of the horizon moves the share of the student that a sample adds, 1 / horizon, from 1 / start to 1 / end: so
    DINO lets d go to 1 by half a cosine, ``{start: 1.02e6, end: .inf, until: SAMPLES, shape: cosine}``.

    With `centre` it also keeps the running mean of its own rows over all processes, by which DINO centres a teacher's
    scores, see `Centres`. A step's objective sees the centre as it was before it; a step that is skipped moves none.

    Args:
        horizon: in samples, or a ramp of it.
        centre: keys whose rows have a centre, without the teacher's name: ``[image/dino, image.second/dino]``. Views
            share the centre of a part.
        centre_horizon: in samples; the default is DINO's e = 0.9 for steps of 1,024.

    Raises:
        ConfigError: if a horizon is not positive, or `centre` names no part of a view.

    References:
        Tarvainen and Valpola 2017 (mean teacher); Caron et al. 2021 (DINO, algorithm 1: ramp and centre).

    Example:
        >>> Ema(horizon=1000.0).distance(500, 0)  # d = exp(-0.5)
        0.5
    """

    def __init__(
        self,
        *,
        horizon: Number,
        centre: Sequence[str] = (),
        centre_horizon: float = 9719.0,
        name: Annotated[str, FromModel("name")] = "ema",
    ) -> None:
        super().__init__()
        for end in (horizon.start, horizon.end) if isinstance(horizon, Ramp) else (horizon,):
            if not end > 0:
                raise ConfigError(f"horizon of state 'ema' is {end}: use a number of samples above 0.")
        self.horizon = horizon
        self._centres = Centres(centre, horizon=centre_horizon, teacher=name)
        self._samples_seen = 0

    def needs(self) -> frozenset[Key]:
        """The teacher's rows that have a centre."""
        return self._centres.needs()

    def distance(self, samples: float, after: int) -> float:
        """Return the integral of 1 / horizon, which is -log d, over a step of so many samples after so many."""
        if not isinstance(self.horizon, Ramp):
            return samples / self.horizon
        rate = self.horizon.model_copy(update={"start": 1 / self.horizon.start, "end": 1 / self.horizon.end})
        return samples * mean_between(rate, after, after + round(samples))

    def centre(self, part: str) -> Tensor:
        """Return the centre of a part, (D,); one zero, (1,), before the first step.

        Raises:
            ConfigError: for a part that has none.
        """
        return self._centres.of(part).to(next(self.model.parameters()).device)

    @torch.no_grad()
    def observe(self, ctx: Context) -> None:
        """Put the mean of a step's rows aside."""
        self._centres.observe(ctx)

    @torch.no_grad()
    def bind(self, model: Model) -> None:
        """Start as a copy of the student.

        Bound again, after heads were mounted, the teacher takes the student's new structure and keeps its
        average of every tensor that still is there.
        """
        averaged = {} if self._model is None else tensors_of(self._model)
        self._keep(copy.deepcopy(model))
        for name, tensor in tensors_of(self.model).items():
            if name in averaged and averaged[name].shape == tensor.shape:
                tensor.copy_(averaged[name])

    @torch.no_grad()
    def after_step(self, model: nn.Module, samples_seen: int) -> None:
        """Move the average towards the student's weights.

        Args:
            model: the student, not wrapped.
            samples_seen: by the whole run, this step included.

        Raises:
            ConfigError: if the student's tensors are not those it was bound to.
        """
        samples = samples_seen - self._samples_seen
        # 1 - d without the cancellation that a long horizon would bring.
        move_tensors(self.model, model, -math.expm1(-self.distance(samples, self._samples_seen)))
        self._samples_seen = samples_seen
        self._centres.after_step(samples)

    def restructure(self, model: Model) -> None:
        """Rebuild the average after patches changed the student's tensors."""
        self.bind(model)

    def operate(self, surgery: Callable[[Model], None]) -> None:
        """Apply the surgery to the average's own tensors, not the student's."""
        surgery(self.model)
        self._keep(self.model)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the teacher's tensors, its centres and the samples it has followed for."""
        seen = {"samples_seen": torch.tensor(self._samples_seen)}
        return save_tensors(self.model) | self._centres.state_dict() | seen

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned, or raise a `DataError` if it is another model's."""
        load_tensors(self.model, tensors, who="EMA")
        self._samples_seen = int(tensors["samples_seen"])
        self._centres.load_state_dict(tensors, next(self.model.parameters()).device)
