"""Several processes under torchrun: start, wrap, stop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from inspect import signature

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.rendezvous import rendezvous

from medvlp.core import collectives
from medvlp.core.devices import local_device
from medvlp.core.errors import UserError
from medvlp.core.protocols import Model

# The first process may validate or release alone for as long: the others wait for it.
_PATIENCE = timedelta(hours=1)


@contextmanager
def processes(device: str) -> Iterator[None]:
    """Join the process group that torchrun describes, if it does, and leave it at the end.

    Raises:
        UserError: if another process of the group ended, or did not answer for an hour; no checkpoint is harmed, since
            one is written beside and put in place whole.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if cuda:
        torch.cuda.set_device(local_device("cuda"))
    store, rank, world = next(iter(rendezvous("env://", timeout=_PATIENCE)))
    # torchrun keeps one store over restarts: addresses of processes that are gone still lie in it. On several machines
    # the count is each one's own.
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    one_machine = os.environ.get("LOCAL_WORLD_SIZE", str(world)) == str(world)
    fresh = dist.PrefixStore(f"start {restarts}", store) if one_machine else store
    backend = "nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=fresh, rank=rank, world_size=world, timeout=_PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0] or type(error).__name__
        raise UserError(
            f"Process {dist.get_rank()} of {dist.get_world_size()} lost another one, which says why if it could "
            f"({reason}): what the newest checkpoint holds is saved, start the same command again to go on from it."
        ) from error
    finally:
        dist.destroy_process_group()


def wrap(model: Model) -> nn.Module:
    """Wrap the model in DDP where there are several processes.

    Parameters that `forward` does not use (batch heads, scale) are left to the task. Buffers are not broadcast: the
    engine has no buffer that may differ between processes; running statistics of BatchNorm move alike on all of them.
    """
    if collectives.world_size() == 1:
        return model
    ddp = nn.parallel.DistributedDataParallel
    ddp._set_params_and_buffers_to_ignore_for_model(model, model.outside_forward())
    inside = [p for n, p in model.named_parameters() if p.requires_grad and n not in set(model.outside_forward())]
    if not inside:
        return model
    device = next(model.parameters()).device
    ids = [device.index] if device.type == "cuda" and device.index is not None else None
    # Newer versions of torch renamed the option: the old name warns there, the new one is unknown to older ones.
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in signature(ddp).parameters else "broadcast_buffers"
    # A plan that asks for one tower leaves the other without gradients: such parameters are found, not waited for.
    return ddp(model, device_ids=ids, find_unused_parameters=True, **{buffers: False})  # pyrefly: ignore


def refuse_other_data(data: str) -> None:
    """Refuse processes whose training records, by their hash, are not the same (UserError); all must call it."""
    first, *others = collectives.gather_objects(data)
    if odd := next((rank for rank, other in enumerate(others, start=1) if other != first), 0):
        raise UserError(
            f"Processes 0 and {odd} have other training records: files that one machine cannot read are left out there "
            "alone; see that data.root, its files and the versions of medvlp are the same on all, and start again."
        )
