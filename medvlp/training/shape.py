"""The shape of a model over the phases of a run: patches come and go, surgery stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model, State
from medvlp.models.patches._patch import Handle, apply_patches
from medvlp.models.surgery._surgery import operate
from medvlp.training.phases import PhasePlan


class Shape:
    """The model's patches and surgery in each phase: only its own patches, and all surgery up to it.

    Args:
        root: the modules whose parameters are trained, by the names of checkpoints.
        model: the one in it that is shaped.
        states: those that hold a model follow.
        phases: in order.
        seed: of first weights.
    """

    def __init__(
        self, root: nn.Module, model: Model, states: Mapping[str, State], phases: Sequence[PhasePlan], *, seed: int
    ) -> None:
        self._root = root
        self._model = model
        self._states = states
        self._phases = phases
        self._seed = seed
        self._index = self._operated = -1
        self._patches: Handle | None = None

    def has_outgrown(self, index: int) -> bool:
        """Whether surgery of a phase after that one was done."""
        return any(phase.surgery for phase in self._phases[index + 1 : self._operated + 1])

    def stand_at(self, index: int, moments: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Give the model the shape of a phase, and return an optimiser's moments for it.

        Args:
            index: of the phase.
            moments: as `optimiser_state` gives them. Those of a parameter go with it if surgery leaves it as it was,
                under whatever name, and are gone if it was changed.

        Raises:
            ConfigError: if surgery of a later phase was done: it is not undone, and the model has to be built anew.
        """
        if self._index == index:
            return moments
        if self.has_outgrown(index):
            raise ConfigError(f"The model has undergone the surgery of a phase after phases[{index}]: build it anew.")
        pending = [i for i in range(self._operated + 1, index + 1) if self._phases[i].surgery]
        before, patches = self._patches, self._phases[index].patches
        if before is not None:
            before.remove()
            if pending:
                self._follow()  # whoever follows must have no patches either when it is operated on
        for i in pending:
            moments = self._operate(i, moments)
        where = f"phases[{index}].patches"
        made = apply_patches(self._model, patches, seed=self._seed, where=where) if patches else None
        self._patches, self._index, self._operated = made, index, max(index, self._operated)
        if made is not None or before is not None:
            self._follow()
        return moments

    def _follow(self) -> None:
        for state in self._states.values():
            state.restructure(self._model)

    def _operate(self, index: int, moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
        surgery = partial(operate, specs=self._phases[index].surgery, seed=self._seed, where=f"phases[{index}].surgery")
        before = dict(self._root.named_parameters())  # held, so that no new parameter can have an old one's identity
        surgery(self._model)
        for state in self._states.values():
            state.operate(surgery)
        names = {id(parameter): name for name, parameter in before.items()}
        now = {names[id(p)]: name for name, p in self._root.named_parameters() if id(p) in names}
        slots = [(*key.rpartition("|")[::2], tensor) for key, tensor in moments.items()]
        return {f"{now[name]}|{slot}": tensor for name, slot, tensor in slots if name in now}
