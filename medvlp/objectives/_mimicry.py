"""Soft targets from how a teacher sees a batch: what TinyCLIP, CLIP-Refine and MobileCLIP have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.errors import ConfigError
from medvlp.state._model_teacher import ModelTeacher


def affinity(
    ctx: Context,
    teachers: Sequence[str],
    rows: str,
    columns: str,
    *,
    scale: float | None = None,
    temperature: float = 1.0,
    part: slice = slice(None),
) -> Tensor:
    """Return where teachers place own rows among everybody's columns: mean of their softmax, (R, C), no gradient.

    The mean is taken of distributions, not of scores, so that teachers of any width and scale go together.

    Args:
        teachers: states that encode.
        rows: view of the rows.
        columns: view of the columns.
        scale: of the teachers' cosines; None: each teacher's own logit scale.
        temperature: scaled cosines are divided by it.
        part: some of the own rows.

    Raises:
        ConfigError: if a teacher without a model, and so without a scale, is asked for its own.

    Example:
        >>> rows = {"t:image/embedding": torch.eye(2), "t:text/embedding": torch.eye(2)}
        >>> ctx = Context.of(rows, {"text": ["a", "b"]})
        >>> [[round(p, 2) for p in row] for row in affinity(ctx, ["t"], "image", "text", scale=1.0).tolist()]
        [[0.73, 0.27], [0.27, 0.73]]
    """
    seen = []
    for name in teachers:
        cosines = ctx[f"{name}:{rows}/embedding"][part] @ ctx.all(f"{name}:{columns}/embedding").T
        seen.append((_scaled(ctx, name, scale)(cosines) / temperature).softmax(dim=1))
    return torch.stack(seen).mean(dim=0).detach()


def mixed(own: Tensor, soft: Tensor, share: float) -> Tensor:
    """Return share * (uniform over a row's own columns) + (1 - share) * soft, (R, C), rows summing to 1.

    A row without a column of its own keeps what is soft, and with a share of 1 nothing: zeros.

    Args:
        own: bool (R, C).
        soft: (R, C), rows summing to 1.
        share: in [0, 1].

    Example:
        >>> mixed(torch.tensor([[True, False], [False, False]]), torch.full((2, 2), 0.5), 0.5).tolist()
        [[0.75, 0.25], [0.5, 0.5]]
    """
    hard = own.to(soft.dtype)
    target = share * hard / hard.sum(dim=1, keepdim=True).clamp(min=1) + (1 - share) * soft
    mass = target.sum(dim=1, keepdim=True)
    return target / torch.where(mass > 0, mass, 1.0)


def _scaled(ctx: Context, name: str, scale: float | None) -> Callable[[Tensor], Tensor]:
    if scale is not None:
        return lambda cosines: scale * cosines
    teacher = ctx.state[name]
    if not isinstance(teacher, ModelTeacher):
        raise ConfigError(
            f"The teacher {name!r} has no logit scale of its own: set teacher_scale, 100 as in MobileCLIP."
        )
    return teacher.model.scale
