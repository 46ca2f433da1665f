"""A teacher that does not move: the student as it was at some moment, or another model from a bundle."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.protocols import Model
from medvlp.models.pretrained_head import hash_of_tensors
from medvlp.state._model_teacher import ModelTeacher, load_tensors, save_tensors


class Frozen(ModelTeacher):
    """A frozen teacher: the model as it was when the run began, or another bundle.

    A checkpoint holds the whole copy of a student; of a bundle it holds the digest only, and a run that is resumed
    beside a changed bundle is refused.

    Args:
        bundle: folder of a released model; None copies the student at the start.
        begin: samples seen by the run at which the student is copied once more, as it then is: where a later phase
            begins. Asked before, the teacher answers as the student was at the start. Patches of the phase that ends
            there, or earlier surgery, are refused at the start of the run: the copy has not got their tensors.

    Raises:
        ConfigError: if a bundle is to be copied later.

    Example:
        >>> Frozen().bundle is None
        True
    """

    def __init__(self, *, bundle: Path | None = None, begin: Annotated[int, Field(ge=0)] = 0) -> None:
        super().__init__()
        if bundle is not None and begin:
            raise ConfigError("state 'frozen' has a bundle, which never changes, and begin: leave one of them out.")
        self.bundle = bundle
        self.begin = begin
        self._waits = begin > 0

    def bind(self, model: Model) -> None:
        """Copy the student, or load the bundle to where the student is and give it the student's banks.

        Bound again, nothing changes.

        Raises:
            DataError: if the bundle is missing or damaged.
        """
        if self._model is not None:
            return
        if self.bundle is None:
            self._keep(copy.deepcopy(model))
            return
        from medvlp.models.architectures._towers import TowerModel
        from medvlp.models.bundle import load_model

        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        teacher = load_model(self.bundle).to(device)
        if isinstance(model, TowerModel) and isinstance(teacher, TowerModel):
            # The run's banks are texts: the teacher encodes them with its own text tower.
            for bank in model.banks.values():
                if bank.name not in teacher.banks and bank.vectors is None:
                    teacher.add_bank(bank)
        self._keep(teacher)

    def after_step(self, model: nn.Module, samples_seen: int) -> None:
        """Copy the student, once, when `begin` is reached."""
        if self._waits and samples_seen >= self.begin:
            load_tensors(self.model, save_tensors(model), who="frozen")
            self._waits = False

    def state_dict(self) -> dict[str, Tensor]:
        """Return the copy's tensors, or the digest of the bundle's."""
        if self.bundle is not None:
            return {"digest": _digest(self.model)}
        return save_tensors(self.model) | ({"waits": torch.tensor(self._waits)} if self.begin else {})

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            DataError: if they are another model's, or the bundle's weights are no longer those of the saved run.
        """
        if self.bundle is None:
            load_tensors(self.model, tensors, who="frozen")
            self._waits = self.begin > 0 and bool(tensors["waits"])
        elif "digest" not in tensors or not torch.equal(tensors["digest"].cpu(), _digest(self.model)):
            raise DataError(
                f"The weights in {self.bundle} are not those that this run was taught by: restore the bundle, "
                "or start a new run."
            )


def _digest(model: Model) -> Tensor:
    """SHA-256 of names, shapes and bytes of a model's tensors, (32,) uint8."""
    return torch.tensor(list(bytes.fromhex(hash_of_tensors(save_tensors(model)))), dtype=torch.uint8)
