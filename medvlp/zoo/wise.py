"""Weights between a bundle and the one that it was tuned from: much of what was learnt, little of it forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from medvlp.core.errors import DataError
from medvlp.core.registry import FromModel
from medvlp.models.bundle import Bundle, head_findings, load_bundle
from medvlp.models.card import SYNTHETIC


def wise(
    *, source: Annotated[Path, FromModel("source")], start: Path, share: Annotated[float, Field(ge=0, le=1)] = 0.5
) -> Bundle:
    """WiSE-FT (Wortsman et al. 2022, eq. 1): theta = (1 - share) theta_start + share theta_tuned, tensor by tensor.

    Heads that only the tuned bundle has stay as they are, counters too. Thresholds and calibrations belong to the tuned
    weights and are left out: `medvlp evaluate ... evaluation.into_bundle=true` chooses them anew. So is the gate, which
    knows the pictures of one place of the two; nothing makes another.

    Args:
        source: the tuned bundle.
        start: the bundle under `init_from` of its run.
        share: of the tuned weights; 0.5 is the paper's where nothing is known. Choose it on validation patients.

    Raises:
        DataError: if the two have other towers, by surgery too, or other words, a head of both scores other findings in
            each, or patches learnt what the tuned one knows more.
    """
    tuned, first = load_bundle(source), load_bundle(start)
    own, given = tuned.model.state_dict(), first.model.state_dict()
    lost = [name for name in given if name.startswith(("towers.", "trunk.")) and name not in own]
    other = [name for name in own if name in given and own[name].shape != given[name].shape]
    words = [None if each.tokenizer is None else each.tokenizer.identity for each in (tuned, first)]
    models: list[Any] = [tuned.model, first.model]  # behind `grow_depth` a block has the name of another one
    done = [[s for s in each.spec.get("surgery", []) if s["name"] != "parameter_inheriting"] for each in models]
    if lost or other or words[0] != words[1] or done[0] != done[1]:
        what = "their tokenizers differ" if words[0] != words[1] else "their surgery differs"
        what = f"{(lost + other)[0]!r} differs" if lost or other else what
        raise DataError(f"{source} was not tuned from {start} ({what}): give start the bundle of its init_from.")
    before, after = head_findings(first.answers), head_findings(tuned.answers)
    for part in (each for each in after if after[each] != before.get(each, after[each])):
        raise DataError(
            f"The head {part!r} scores {', '.join(after[part])} in {source} and {', '.join(before[part])} in {start}: "
            "numbers of different findings have no mean. Tune one whose head has the same findings in the same order."
        )
    model: Any = tuned.model
    of_heads = tuple(f"shared.{name}." for name in model.shared.only_of(set(model.heads)))
    added = [name for name in own if name not in given and name.startswith(("patches.", "shared."))]
    idle = tuple(f"patches.{key}." for key, patch in model.patches.items() if patch.idle)
    learnt = [name for name in added if not name.startswith((*of_heads, *idle))]
    if learnt:
        raise DataError(
            f"{source} learnt in patches, which {start} has not ({learnt[0]!r}): with no weights of theirs to mix, it "
            "would stay what it is. Tune the towers themselves, or judge both bundles as they are."
        )
    mixed = {
        name: given[name].lerp(tensor, share) if name in given and tensor.is_floating_point() else tensor
        for name, tensor in own.items()
    }
    model.load_state_dict(mixed)
    mix = {"start": str(first.provenance.get("recipe", "")), "share": share}
    line = f"Weights: {share:g} of this model's, the rest of the one it was tuned from."
    made_up = {"synthetic": True} if first.provenance.get("synthetic") else {}
    more = f" {SYNTHETIC}" if made_up and SYNTHETIC not in tuned.card else ""
    card = f"{tuned.card.rstrip()}\n\n{line}{more}\n"
    answers = tuple(answer.unjudged() for answer in tuned.answers)
    provenance = {**tuned.provenance, **made_up, "wise": mix}
    return replace(tuned, answers=answers, gate=None, sentences=None, provenance=provenance, card=card, hash="")
