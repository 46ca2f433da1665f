"""FSDP2: of what is trained in the towers each process holds a part of the rows, of its gradient and of its moments.

`fully_shard` (Zhao et al. 2023; torch's second form) cannot be undone, and what evaluates, saves or reshapes a model
wants all of it. So the one that trains is a twin, and the model itself stays as it is built: empty while the twin
trains, filled from all processes where somebody asks for it. A checkpoint is therefore the same file whatever the
number of processes, and either way of training takes it up.

What is not sharded is the same tensor in both: weights that learn nothing, which cost neither gradient nor moments (so
a frozen tower may be called as often as one process likes), and what lies outside `forward`, which the task averages.
Gradients are divided after each chunk of a step: none waits whole for the last one.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from inspect import signature
from itertools import chain

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from medvlp.core import collectives
from medvlp.core.encoded import Encoded
from medvlp.core.errors import ConfigError
from medvlp.core.protocols import Model, State
from medvlp.models.encoders._text import TextTower
from medvlp.training.recompute import blocks_of


class Twin:
    """A model, and its twin that trains in parts; all processes make it together, and enter `whole` together.

    Args:
        model: as it is to train; which parameters require a gradient is settled.
        states: of the run, by name.

    Attributes:
        model: the one that was given, without weights of its own outside `whole`.
        trained: its twin.

    Raises:
        ConfigError: if torch is too old, or a state lets the model encode at every step.
    """

    def __init__(self, model: Model, states: Mapping[str, State]) -> None:
        if "ignored_params" not in signature(fully_shard).parameters:
            raise ConfigError(
                f"training.parallel is fsdp, which needs torch 2.7 or newer (this is {torch.__version__}): "
                "install one, or use ddp."
            )
        for name, state in states.items():
            if state.encodes_in_steps:
                raise ConfigError(
                    f"State {name!r} asks the whole model at every step, which training.parallel fsdp holds in parts: "
                    "use ddp."
                )
        self.model = model
        # The copy has the same storage: what is sharded leaves it, the rest stays one tensor.
        shared = {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()}
        self.trained: Model = copy.deepcopy(model, shared)
        _shard(self.trained)
        own = dict(model.named_parameters())
        self._parts = [(own[n], p) for n, p in self.trained.named_parameters() if isinstance(p, DTensor)]
        self._empty()

    @contextmanager
    def whole(self, *, everywhere: bool) -> Iterator[None]:
        """Context manager: the model has all its weights, on every process or on the first one."""
        self.fill(everywhere=everywhere)
        try:
            yield
        finally:
            self._empty()

    @torch.no_grad()
    def fill(self, *, everywhere: bool = True) -> None:
        """Give the model all weights and buffers, for good: the twin is not trained any further."""
        for own, part in self._parts:
            weights = collectives.whole(part.detach())
            if everywhere or collectives.rank() == 0:
                own.data = weights
        for own, buffer in zip(self.model.buffers(), self.trained.buffers(), strict=True):
            own.copy_(buffer)

    @torch.no_grad()
    def _empty(self) -> None:
        # One number that is none: whoever reads these weights by mistake is found out by the guard.
        for own, part in self._parts:
            own.data = torch.full((), float("nan"), dtype=own.dtype, device=part.device).expand(own.shape)


def _shard(model: Model) -> None:
    """Shard the blocks of the towers, each gathered when it is called, then the rest of what `forward` trains."""
    outside = set(model.outside_forward())
    ignored = {p for n, p in model.named_parameters() if n in outside or not p.requires_grad or not p.dim()}
    if all(p in ignored for p in model.parameters()):
        return
    mesh = init_device_mesh(next(model.parameters()).device.type, (collectives.world_size(),))
    _open_to_hooks()
    for block in blocks_of(model):
        if any(p not in ignored for p in block.parameters()) and not _tied(model, block):
            fully_shard(block, mesh=mesh, ignored_params=ignored)
    fully_shard(model, mesh=mesh, ignored_params=ignored)
    # It warns of outputs that are views, which somebody might change in place; the task makes leaves of them all.
    warnings.filterwarnings("ignore", message=rf"FSDP2-wrapped module \({type(model).__name__}\) returned a view")
    for tower in model.modules():
        if isinstance(tower, TextTower):
            tower.in_groups = False  # else each process would call the blocks another number of times


@cache
def _open_to_hooks() -> None:
    """Let torch find the tensors in what a model returns: they begin the backward pass."""
    torch.export.register_dataclass(Encoded)


def _tied(model: nn.Module, block: nn.Module) -> bool:
    """Whether a parameter of a block is somebody else's too."""
    inside, modules = set(block.parameters()), set(block.modules())
    others = chain.from_iterable(m.parameters(recurse=False) for m in model.modules() if m not in modules)
    return not inside.isdisjoint(others)


def is_sharded(model: nn.Module) -> bool:
    """Whether processes hold a model in parts."""
    return isinstance(model, FSDPModule)
