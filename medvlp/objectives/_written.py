"""What objectives share that teach a head to write: which head, and the loss of each next word."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.core.encoded import promoted
from medvlp.core.protocols import HeadSpec
from medvlp.core.term import Term
from medvlp.objectives._rows import first_of


def head_of(decoder: Mapping[str, object], reads: str) -> HeadSpec:
    """Return the head that writes, a component with its options, as one that reads a part of pictures.

    Example:
        >>> head_of({"layers": 1}, "embedding").name, head_of({"name": "limber", "length": 4}, "embedding").options
        ('generator', {'length': 4, 'reads': 'embedding'})
    """
    options = {name: value for name, value in decoder.items() if name != "name"}
    return HeadSpec(str(decoder.get("name", "generator")), {**options, "reads": reads}, keep=True)


def next_token(logits: Tensor, ids: Tensor, mask: Tensor, given: Tensor | None = None) -> Term:
    """Return the sum over real tokens of the cross entropy of the next token, and how many are predicted.

    Args:
        logits: (R, L, V).
        ids: (R, L) of the texts, whose first token is given.
        mask: (R, L), True on tokens; padding is neither predicted nor counted.
        given: (R, L) bool, further tokens that are given.
    """
    predicted = mask[:, 1:] & mask[:, :-1]
    if given is not None:
        predicted = predicted & ~given[:, 1:]
    # Padding goes before the float32 copy, which is the largest tensor of the step: tokens times vocabulary.
    return Term.of(F.cross_entropy(promoted(logits[:, :-1][predicted]), ids[:, 1:][predicted], reduction="none"))


def begun(questions: Tensor, owner: Tensor, texts: Tensor, *, length: int) -> Tensor:
    """Return which tokens of texts are their question's, bool (R, L): all of it but its last, the end of a text.

    Args:
        questions: (Q, M), True on tokens.
        owner: (Q,) sample of each.
        texts: (R,) sample of each text, which begins with its question; without one its first token alone is given.
        length: L.

    Example:
        >>> begun(torch.tensor([[True, True, True]]), torch.tensor([1]), torch.tensor([0, 1]), length=3).int().tolist()
        [[1, 0, 0], [1, 1, 0]]
    """
    row, lengths = first_of(owner, texts), questions.sum(dim=1) - 1
    asked = torch.where(row >= 0, lengths[row], 1) if len(lengths) else torch.ones_like(texts)
    return torch.arange(length, device=texts.device)[None] < asked[:, None]
