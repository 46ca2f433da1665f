"""Tensors of which each process holds some rows (a DTensor of `fully_shard`), beside those that all hold whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from medvlp.core import collectives


def own_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def own_rows(tensor: Tensor, like: Tensor) -> Tensor:
    """Return of a whole tensor (N, ...) the rows that this process holds of another; all where that one is whole."""
    if not isinstance(like, DTensor):
        return tensor
    size = -(-len(tensor) // collectives.world_size())
    return tensor[collectives.rank() * size : (collectives.rank() + 1) * size]


def held_as(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a copy of a tensor, whole or not, that is held as another one is, if they have one shape; else whole."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return collectives.whole(tensor).to(like.device, copy=True)
    made = torch.empty_like(like, dtype=tensor.dtype, requires_grad=False)
    own_part(made).copy_(own_part(tensor) if isinstance(tensor, DTensor) else own_rows(tensor, like))
    return made


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors whole on the first process, those in parts in the processor's memory; nothing elsewhere.

    All processes must call it; one tensor at a time is whole on the others.
    """
    found = {}
    for name, tensor in tensors.items():
        whole = collectives.whole(tensor)
        if collectives.rank() == 0:
            found[name] = tensor if whole is tensor else whole.detach().cpu()
    return found


def clip_gradients(parameters: Sequence[Tensor], most: float) -> float:
    """Scale gradients so that the norm of all together is at most `most`; returns the norm that it was."""
    if not any(isinstance(p, DTensor) for p in parameters):
        return float(nn.utils.clip_grad_norm_(parameters, most))
    kinds = [[p for p in parameters if isinstance(p, DTensor) is parted] for parted in (False, True)]
    norms = [nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None]) for kind in kinds if kind]
    norm = torch.stack([collectives.whole(each) for each in norms]).norm()
    for kind in kinds:
        nn.utils.clip_grads_with_norm_(kind, most, norm)
    return float(norm)
