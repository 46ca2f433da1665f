"""Training a few tensors of a head on frozen features, and what each label weighs in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from medvlp.adaptation._adapter import Candidate, head_with
from medvlp.core.encoded import Encoded
from medvlp.statistics.metrics import FloatArray

_BATCH = 256


def weights_of(labels: FloatArray) -> FloatArray:
    """Return the weight of each label (N, K): both classes of a finding weigh alike, together as many as are known.

    Example:
        >>> weights_of(np.array([[1.0], [0.0], [0.0], [0.0], [np.nan]])).ravel().round(3).tolist()
        [2.0, 0.667, 0.667, 0.667, 0.0]
    """
    known, present = np.isfinite(labels), labels == 1
    counts = present.sum(axis=0), (known & ~present).sum(axis=0)
    share = known.sum(axis=0) / np.maximum(np.where(present, counts[0], counts[1]), 1) / 2
    return np.where(known, share, 0.0)


@torch.inference_mode(False)  # gradients, whatever mode of torch the caller is in
def trained(
    head: str,
    tensors: Candidate,
    rows: FloatArray,
    labels: FloatArray,
    *,
    only: Sequence[str],
    epochs: Sequence[int],
    rate: float,
    weight: FloatArray | None = None,
) -> dict[int, Candidate]:
    """Return the head's tensors after so many epochs of weighted cross entropy, by AdamW at a constant rate.

    Batches of 256 in one seeded order; missing labels take no part. The same call gives the same bits.

    Args:
        head: component of `medvlp.models.heads`.
        tensors: that it starts from.
        rows: (N, D).
        labels: (N, K), NaN unknown.
        only: names of the tensors that are trained.
        epochs: after which the tensors are taken; 0 is the start.
        rate: learning rate.
        weight: (N, K) of each label, beside what balances its classes.
    """
    own = head_with(head, tensors).float()
    for name, parameter in own.named_parameters():
        parameter.requires_grad_(name in only)
    moving = [parameter for parameter in own.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(moving, lr=rate, weight_decay=1e-4)
    share = weights_of(labels) * (1.0 if weight is None else weight)
    seen, weighs = torch.from_numpy(rows).float(), torch.from_numpy(share).float()
    target = torch.from_numpy(np.nan_to_num(labels)).float()
    draw = torch.Generator().manual_seed(0)
    found: dict[int, Candidate] = {0: tensors}
    for epoch in range(1, max(epochs) + 1):
        for batch in torch.randperm(len(rows), generator=draw).split(_BATCH):
            logits = own(Encoded(owner=batch, pooled=seen[batch]), "logits")["logits"]
            loss = binary_cross_entropy_with_logits(logits, target[batch], weight=weighs[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if epoch in epochs:
            now = {name: value.detach().double().numpy().copy() for name, value in own.state_dict().items()}
            found[epoch] = {**tensors, **{name: now[name] for name in only}}
    return {epoch: found[epoch] for epoch in epochs}
