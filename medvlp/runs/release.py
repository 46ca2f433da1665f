"""What a release may claim, the findings that the texts of training name, and its card."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from medvlp.answers.asking.declared import Declared
from medvlp.core.views import View
from medvlp.data.pipeline import added_fields
from medvlp.data.prepare import Prepared
from medvlp.models.bundle import Bundle, load_described
from medvlp.models.card import RESEARCH, SYNTHETIC, ModelCard, fact_list
from medvlp.training.setup import Outcome

logger = logging.getLogger(__name__)


def taught_answers(
    answers: Sequence[Declared], train: Prepared, *, suffix: Sequence[View] = (), start: Path | None
) -> list[Declared]:
    """Return the answers about findings that a training text names, or that the bundle it started from claims.

    What is left out is logged. Answers that ask by no words stay as they are; so do all where training has no texts.

    Args:
        answers: of the recipe.
        train: training records.
        suffix: views of training, of which some may write the texts (`captions`).
        start: bundle that training started from.
    """
    writers = [view for view in suffix if "text" in added_fields([view])]
    if not any(each.answer.prompts for each in answers) or not (writers or "text" in train.manifest):
        return list(answers)
    claimed = [] if start is None else load_described(start)["answers"]
    before = [label for each in claimed for label in each["labels"]]
    found = []
    for each in answers:
        answer = each.answer.taught_by(training_texts(train, writers), known=before)
        unknown = [name.replace("_", " ") for name in each.answer.labels if name not in answer.labels]
        if unknown:
            logger.info(f"Not asked for by {each.name}, because no training text names it: {', '.join(unknown)}.")
        if answer.labels or not unknown:
            found.append(replace(each, answer=answer))
    return found


def training_texts(prepared: Prepared, writers: Sequence[View] = ()) -> Iterator[str]:
    """Yield the words of each record as they are trained on: after the prefix, or once as `writers` draw them."""
    draw = torch.Generator().manual_seed(0)
    for index in range(len(prepared)):
        sample = prepared.sample(index, pixels=bool(writers))  # a view may look at them
        for view in writers:
            sample = view(sample, draw)
        if isinstance(text := sample.fields.get("text"), str):
            yield text


def origin_of(start: Path | None) -> dict[str, object]:
    """Return whose weights training started from, their licence and citation; those of the first of several starts.

    Whether any of these starts was trained on synthetic data stays with the model, whatever it is trained on next.
    """
    known = {} if start is None else load_described(start)["provenance"]
    found = {
        name: known.get(f"start_{name}", known.get(name)) for name in ("release", "package", "licence", "citation")
    }
    found["synthetic"] = known.get("synthetic") or known.get("start_synthetic") or None
    return {f"start_{name}": value for name, value in found.items() if value is not None}


def training_card(bundle: Bundle, outcome: Outcome, tree: Mapping[str, Any], answers: Mapping[str, Declared]) -> str:
    """Return the card of a trained model; a number of held-out cases is an evaluation's to add (`medvlp report`)."""
    best = "not measured" if outcome.best_value is None else f"{outcome.best_value:.4f}"
    made_of = [tree["model"].get(part) for part in ("vision", "stack", "text")]
    towers = [str(part.get("architecture") or part["name"]) for part in made_of if isinstance(part, Mapping)]
    kind = "A vision-language model" if bundle.model.reads_text else "An image model"
    objectives = dict.fromkeys(str(each["name"]) for phase in tree["phases"] for each in phase["objectives"])
    given = bundle.provenance.get("start_licence")
    owed = "" if given is None else f" Licence of the weights that training started from: {given}."
    return release_card(
        bundle.provenance,
        what=f"{kind} of {' and '.join(towers)}, trained by {', '.join(objectives)}.{owed}",
        labels=bundle.labels,
        chosen=f"Best validation metric: {best} (of the validation split, by which it was chosen).",
        prompted=any(each.answer.prompts for each in answers.values()),
    )


def release_card(
    provenance: Mapping[str, Any], *, what: str, labels: Sequence[str], chosen: str, prompted: bool
) -> str:
    """Return the card of a bundle: what it is, what it is asked for and how it was chosen, in Markdown."""
    synthetic = bool(provenance.get("synthetic"))
    return ModelCard(
        name="Model card",
        prompted=prompted,
        synthetic=synthetic,
        sections=[
            ("Use", f"{SYNTHETIC if synthetic else ''}\n\n{RESEARCH}"),
            ("What it is", what),
            ("What it is asked for", ", ".join(label.replace("_", " ") for label in labels)),
            ("How it was chosen", chosen),
            ("Limits", str(provenance.get("split_flaw", ""))),
            ("Where it comes from", fact_list(provenance)),
        ],
    ).text()
