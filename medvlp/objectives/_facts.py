"""Which texts are true of which samples, by what their reports and labels say: numbers that the view `facts` wrote."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp.core.context import Context
from medvlp.core.fields import parse_field
from medvlp.core.keys import parse_key
from medvlp.core.step_index import IntArray
from medvlp.text.facts import KNOWN, confirmed, stated_field


def true_of(ctx: Context, *, rows: str, columns: str, text: str, part: slice = slice(None)) -> Tensor:
    """Whether the text of a pair is true of the other one's sample, bool (R, C): own rows against everybody's columns.

    A text is true of a sample if it states a fact, and each that it states is confirmed by what is known of the sample
    (`medvlp.text.facts.confirmed`).

    Args:
        rows: key of the rows.
        columns: key of the columns; the view of one of the two is the text field, or another text of it, of the other
            its picture. Of two texts the columns state the facts if theirs is the text field, else the rows.
        text: the text field.
        part: some of the own rows.
    """
    own = ctx.index.own(rows)
    one, other = parse_key(rows).view, parse_key(columns).view
    columns_state = other == text or (_is_text(other) and not _is_text(one))
    picture, of_text = (rows, columns) if columns_state else (columns, rows)
    lacks, states = ctx.once(f"facts of {text} in {of_text} and {picture}", lambda: _facts(ctx, picture, of_text, text))
    if picture == rows:
        lacks = lacks[own][part]
    else:
        states = states[own][part]
    found = (lacks @ states.T == 0) & states.any(dim=1)
    return found if picture == rows else found.T


def _is_text(view: str) -> bool:
    return parse_field(view).kind == "text"


def _facts(ctx: Context, picture: str, of_text: str, text: str) -> tuple[Tensor, Tensor]:
    """Return of everybody's rows which facts are not confirmed (P, V) and which are stated (T, V), as 0 and 1."""
    of_sample, known = _members(_known(ctx, picture))
    states, stated = _members(_stated(ctx, of_text, text))
    lacks = (of_sample @ confirmed(known, stated) == 0).astype(np.float32)
    device = ctx[picture].device
    return torch.from_numpy(lacks).to(device), torch.from_numpy(states).to(device)


def _known(ctx: Context, key: str) -> IntArray:
    """Return the facts known of the sample of each of everybody's rows, (sum of R, G); 0 is none."""
    return ctx.index.values(KNOWN, key)[..., 1]


def _stated(ctx: Context, key: str, text: str) -> IntArray:
    """Return the facts that each of everybody's rows of the text states, (sum of R, F); 0 is none."""
    owner = ctx.index.owner(key)
    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    found = ctx.index.values(stated_field(text), key)
    return np.where(found[..., 0] == place[:, None], found[..., 1], 0)


def _members(facts: IntArray) -> tuple[NDArray[np.float32], IntArray]:
    """Return which rows have which fact, float (R, U), and the facts (U,); 0 is none."""
    different, place = np.unique(facts, return_inverse=True)
    member = np.zeros((len(facts), len(different)), dtype=np.float32)
    np.put_along_axis(member, place.reshape(facts.shape), 1.0, axis=1)
    there = different != 0
    return member[:, there], different[there]
