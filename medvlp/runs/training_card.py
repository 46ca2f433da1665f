"""The card of a model as training releases it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlp.answers.asking.declared import Declared
from medvlp.models.bundle import Bundle
from medvlp.models.card import RESEARCH, ModelCard, fact_list
from medvlp.training.setup import Outcome

_FITTED = (
    "Chosen on validation pictures, for the scores of the bundle's own answers alone; they stand in `bundle.yaml`."
)


def training_card(bundle: Bundle, outcome: Outcome, tree: Mapping[str, Any], answers: Mapping[str, Declared]) -> str:
    """Return the card of a trained model; a number of held-out cases is an evaluation's to add (`medvlp report`)."""
    synthetic = bool(bundle.provenance["synthetic"])
    best = "not measured" if outcome.best_value is None else f"{outcome.best_value:.4f}"
    made_of = [tree["model"].get(part) for part in ("vision", "stack", "text")]
    towers = [str(part.get("architecture") or part["name"]) for part in made_of if isinstance(part, Mapping)]
    kind = "A vision-language model" if bundle.model.reads_text else "An image model"
    objectives = dict.fromkeys(str(each["name"]) for phase in tree["phases"] for each in phase["objectives"])
    trained = "Trained on synthetic data: it proves the machinery and knows nothing of patients." if synthetic else ""
    flaw = str(bundle.provenance.get("split_flaw", ""))
    return ModelCard(
        name="Model card",
        prompted=any(each.answer.prompts for each in answers.values()),
        synthetic=synthetic,
        sections=[
            ("Use", f"{trained}\n\n{RESEARCH}"),
            ("What it is", f"{kind} of {' and '.join(towers)}, trained by {', '.join(objectives)}."),
            ("What it is asked for", ", ".join(label.replace("_", " ") for label in bundle.labels)),
            ("How it was chosen", f"Best validation metric: {best} (of the validation split, by which it was chosen)."),
            ("Probabilities and thresholds", _FITTED if any(each.calibration for each in bundle.answers) else ""),
            ("Limits", flaw),
            ("Where it comes from", fact_list(bundle.provenance)),
        ],
    ).text()
