"""A shorter embedding: the first numbers of what a model was trained to nest."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from medvlp.core.errors import ConfigError
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.heads.projection import Projection


class KeepPrefix:
    r"""raw becomes raw_{1:m} of every tower: the projections lose all rows but the first m.

    An embedding of D numbers becomes the m numbers cos(v_{1:m}, t_{1:m}) is made of, so that an index takes m / D of
    the memory and everything else goes on as before. For a model that was trained by `matryoshka` (Kusupati et al.
    2022, adaptive deployment); of another one the first numbers are as good as any others.

    Args:
        width: m.

    Raises:
        ConfigError: by the call, if the model's embedding has no more numbers, is no linear map's, or other heads or
            stored texts rest on it.

    Note:
        Choose m on validation patients, finding by finding: rare ones suffer first.
    """

    def __init__(self, *, width: Annotated[int, Field(ge=1)]) -> None:
        self.width = width

    def __call__(self, model: TowerModel) -> None:
        """Change the model's projections."""
        if self.width >= model.embed_dim:
            raise ConfigError(f"keep_prefix.width is {self.width}, and the embedding has {model.embed_dim} numbers.")
        raw = {name: head for name, head in model.heads.items() if name.endswith("/raw")}
        other = [name for name, head in model.heads.items() if {"raw", "embedding"} & set(head.reads)]
        stored = [name for name, bank in model.banks.items() if bank.vectors is not None]
        odd = [name for name, head in raw.items() if not isinstance(head, Projection)]
        if other or stored or odd:
            raise ConfigError(
                f"keep_prefix cannot cut the embedding, because of {', '.join(map(repr, other + stored + odd))}: it is "
                "for models whose embeddings are projections that nothing else rests on."
            )
        for head in raw.values():
            assert isinstance(head, Projection)
            head.output, head.width = _cut(head.output, self.width), self.width
        model.embed_dim = self.width


def _cut(linear: nn.Linear, width: int) -> nn.Linear:
    """Return the first outputs of a linear map."""
    new = nn.Linear(linear.in_features, width, bias=linear.bias is not None)
    for name, old in linear.named_parameters():
        setattr(new, name, nn.Parameter(old[:width].detach().clone(), requires_grad=old.requires_grad))
    return new
