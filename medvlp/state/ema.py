"""A teacher that is the exponential moving average of the student."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model
from medvlp.state._model_teacher import ModelTeacher, load_tensors, save_tensors, tensors_of

__all__ = ["Ema"]


class Ema(ModelTeacher):
    """theta_teacher <- d theta_teacher + (1 - d) theta_student after each step, d = exp(-samples / horizon).

    The horizon is counted in samples, so that batch size, processes and accumulation do not change the average: after
    `horizon` samples a student's weight in it has fallen to 1/e (the half-life is 0.693 horizon). Per step of 4,096
    samples the customary d = 0.996 is a horizon of 1.02 million. Parameters and floating buffers are averaged, counters
    are copied. Each process averages its own copy of the same student with the same numbers, so the teachers are the
    same bytes without any communication.

    Args:
        horizon: in samples.

    Raises:
        ConfigError: if the horizon is not positive.

    References:
        Tarvainen and Valpola 2017 (mean teacher).

    Example:
        >>> round(Ema(horizon=1000.0).decay(693.147), 4)
        0.5
    """

    def __init__(self, *, horizon: float) -> None:
        super().__init__()
        if not horizon > 0:
            raise ConfigError(f"horizon of state 'ema' is {horizon}: use a number of samples above 0.")
        self.horizon = horizon
        self._samples_seen = 0

    def decay(self, samples: float) -> float:
        """Return d for a step of that many samples."""
        return math.exp(-samples / self.horizon)

    @torch.no_grad()
    def bind(self, model: Model) -> None:
        """Start as a copy of the student.

        Bound again, after heads were mounted or a surgery, the teacher takes the student's new structure and keeps its
        average of every tensor that still is there.
        """
        averaged = {} if self._model is None else tensors_of(self._model)
        self._keep(copy.deepcopy(model))
        for name, tensor in tensors_of(self.model).items():
            if name in averaged and averaged[name].shape == tensor.shape:
                tensor.copy_(averaged[name])

    @torch.no_grad()
    def after_step(self, model: nn.Module, samples_seen: int) -> None:
        """Follow the student.

        Args:
            model: the student, not wrapped.
            samples_seen: by the whole run, this step included.

        Raises:
            ConfigError: if the student's tensors are not those it was bound to.
        """
        own, student = tensors_of(self.model), tensors_of(model)
        if own.keys() != student.keys():
            odd = min(own.keys() ^ student.keys())
            raise ConfigError(f"The student changed under its EMA teacher ({odd!r}): bind the teacher again.")
        # 1 - d without the cancellation that a long horizon would bring.
        gain = -math.expm1(-(samples_seen - self._samples_seen) / self.horizon)
        self._samples_seen = samples_seen
        for name, tensor in own.items():
            if tensor.is_floating_point():
                tensor.lerp_(student[name].to(tensor.dtype), gain)
            else:
                tensor.copy_(student[name])

    def restructure(self, model: Model) -> None:
        """Bind again."""
        self.bind(model)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the teacher's tensors and the samples it has followed for."""
        return {**save_tensors(self.model), "samples_seen": torch.tensor(self._samples_seen)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take them back.

        Raises:
            DataError: if they are another model's.
        """
        load_tensors(self.model, tensors, who="EMA")
        self._samples_seen = int(tensors["samples_seen"])
