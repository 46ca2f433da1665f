"""Which texts are true of which samples, by what their reports and labels say: numbers that the view `facts` wrote."""

from __future__ import annotations

import torch
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.keys import parse_key
from medvlp.text.facts import KNOWN, confirmed, stated_field


def true_of(ctx: Context, *, rows: str, columns: str, text: str) -> Tensor:
    """Whether the text of a pair is true of the other one's sample, bool (R, C): own rows against everybody's columns.

    A text is true of a sample if it states a fact, and each that it states is confirmed by what is known of the sample
    (`medvlp.text.facts.confirmed`).

    Args:
        ctx: the step.
        rows: key of the rows.
        columns: key of the columns; the view of one of the two is the text field, of the other its picture.
        text: the text field.

    Example:
        >>> from medvlp.core.sample import Sample
        >>> from medvlp.data.collate import collate
        >>> from medvlp.data.views.facts import Facts
        >>> texts = ("Left effusion. No nodule.", "No nodule.", "Clear.")
        >>> samples = [Facts()(Sample(t, {"text": t}), torch.Generator()) for t in texts]
        >>> rows = {"image/raw": torch.eye(3), "text/raw": torch.eye(3)}
        >>> ctx = Context.of(rows, collate(samples, torch.arange(3)))
        >>> true_of(ctx, rows="image/raw", columns="text/raw", text="text").int().tolist()
        [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    """
    if parse_key(columns).view == text:
        return _true(_known(ctx, rows), _everybody(ctx, _stated(ctx, columns, text), columns))
    return _true(_everybody(ctx, _known(ctx, columns), columns), _stated(ctx, rows, text)).T


def _known(ctx: Context, key: str) -> Tensor:
    """Return the facts known of the sample of each own row, (R, G); 0 is none."""
    return ctx.rows(KNOWN, key).padded()[..., 1]


def _stated(ctx: Context, key: str, text: str) -> Tensor:
    """Return the facts that each own row of the text states, (R, F); 0 is none."""
    owner = ctx.owner(key)
    place = torch.arange(len(owner), device=owner.device) - torch.searchsorted(owner, owner)
    found = ctx.rows(stated_field(text), key).padded()
    return torch.where(found[..., 0] == place[:, None], found[..., 1], 0)


def _everybody(ctx: Context, facts: Tensor, key: str) -> Tensor:
    return ctx.gather(facts, ctx.owner(key)).values


def _true(known: Tensor, stated: Tensor) -> Tensor:
    """Return which rows of stated facts (C, F) are confirmed by which rows of known ones (R, G), bool (R, C)."""
    of_sample, known = _members(known)
    of_text, stated = _members(stated)
    confirms = torch.from_numpy(confirmed(known.cpu().numpy(), stated.cpu().numpy())).to(of_sample)
    wrong = (of_sample @ confirms == 0).to(of_text) @ of_text.T
    return (wrong == 0) & of_text.any(dim=1)


def _members(facts: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows have which fact, float (R, U), and the facts (U,); 0 is none."""
    different, place = facts.unique(return_inverse=True)
    member = torch.zeros(len(facts), len(different), device=facts.device).scatter_(1, place, 1.0)
    there = different != 0
    return member[:, there], different[there]
