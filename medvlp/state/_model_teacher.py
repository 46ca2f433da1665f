"""What teachers that hold a model have in common: they encode without gradient, in eval mode, and are saved."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medvlp.core import collectives
from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import Plan
from medvlp.core.protocols import Model, Teacher
from medvlp.core.sample import Batch


class ModelTeacher(Teacher):
    """A teacher with a model of its own, or none before `bind`."""

    def __init__(self) -> None:
        self._model: Model | None = None

    @property
    def model(self) -> Model:
        """The teacher's model.

        Raises:
            ConfigError: before `bind`.
        """
        if self._model is None:
            raise ConfigError("The teacher has no model yet: bind it to the student before the first step.")
        return self._model

    @torch.no_grad()
    def encode(self, batch: Batch, plan: Plan) -> dict[str, Encoded]:
        """Encode and finish the planned views, without gradient, with dropout off and batch statistics frozen.

        Heads behind the towers run without autocast, as the student's do.
        """
        rows = self.model(batch, plan)
        with torch.autocast(batch.device.type, enabled=False):
            return self.model.finish(rows, plan)

    def check(self, plan: Plan) -> None:
        """Refuse a plan that the teacher's model cannot compute; see `Model`."""
        self.model.check(plan)

    def _keep(self, model: Model) -> None:
        self._model = model.requires_grad_(False).eval()


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, buffers that are not saved included: they too must follow.

    Example:
        >>> sorted(tensors_of(nn.BatchNorm1d(2)))
        ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
    """
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def move_tensors(model: nn.Module, student: nn.Module, gain: float) -> None:
    """Move floating tensors towards the student's, theta <- theta + gain (theta_student - theta), and copy the others.

    Raises:
        ConfigError: if the two have other tensors.
    """
    own, theirs = tensors_of(model), tensors_of(student)
    if own.keys() != theirs.keys():
        odd = min(own.keys() ^ theirs.keys())
        raise ConfigError(f"The student changed under its EMA teacher ({odd!r}): bind the teacher again.")
    for name, tensor in own.items():
        if tensor.is_floating_point():
            tensor.lerp_(collectives.whole(theirs[name]).to(tensor.dtype), gain)
        else:
            tensor.copy_(collectives.whole(theirs[name]))


def save_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return `tensors_of` under names that leave room for a teacher's own numbers."""
    return {f"model.{name}": collectives.whole(tensor.detach()) for name, tensor in tensors_of(model).items()}


@torch.no_grad()
def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], *, who: str) -> None:
    """Take back what `save_tensors` returned; nothing is changed if anything does not fit.

    Raises:
        DataError: naming the first tensor that is missing, left over or of another shape.
    """
    own = {f"model.{name}": tensor for name, tensor in tensors_of(model).items()}
    saved = {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    for name in sorted(own.keys() | saved.keys()):
        if name not in saved or name not in own or saved[name].shape != own[name].shape:
            raise DataError(
                f"The saved {who} teacher does not fit this model at {name.removeprefix('model.')!r}: "
                "resume with the configuration it was saved with."
            )
    for name, tensor in own.items():
        tensor.copy_(saved[name])
