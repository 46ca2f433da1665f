"""Model cards in the form that model hubs read: YAML between two lines of ``---``, then Markdown.

The keys are those of the Hugging Face hub's model card metadata (hub-docs, ``modelcard.md``). What is not known has no
key: a licence is its author's to give, and a hub shows a card without one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

RESEARCH = (
    "Research use only: not a medical device, not for clinical use. A score is not a probability unless this card says "
    "on which cases it was calibrated."
)
SYNTHETIC = "Trained on synthetic data: it proves the machinery and knows nothing of patients."
_FITTED = "\n## Probabilities and thresholds\n"
_CHOSEN = "Chosen on validation pictures, for scores of the bundle's own answers alone; they stand in `bundle.yaml`."
# Licences that the hub knows by these names; others are "other" with their own name.
_KNOWN = (
    "apache-2.0",
    "mit",
    "bsd-3-clause",
    "cc0-1.0",
    *(f"cc-by-{kind}4.0" for kind in ("", "sa-", "nc-", "nc-sa-")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardResult:
    """A number for the card's ``model-index``: `metric` is its id (``roc_auc``), `name` its words with over what
    and its interval, `dataset` the id of the data (the name of its card or layout), `dataset_name` in words.
    """

    metric: str
    name: str
    value: float
    dataset: str
    dataset_name: str
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A card before it is written.

    Attributes:
        name: of the model.
        sections: (heading, Markdown) in order; a section without words is left out.
        prompted: whether the model scores findings by prompts.
        synthetic: whether it was trained on synthetic data.
        tags: further tags.
        licence: as its author gives it; empty where nobody did.
        results: numbers of held-out cases.
    """

    name: str
    sections: Sequence[tuple[str, str]]
    prompted: bool = True
    synthetic: bool = False
    tags: Sequence[str] = ()
    licence: str = ""
    results: Sequence[CardResult] = ()

    def text(self) -> str:
        r"""Return the model card as Markdown.

        Example:
            >>> print(ModelCard(name="A", sections=[("Use", "Research.")], licence="MIT").text()[-28:])
            ---
            <BLANKLINE>
            # A
            <BLANKLINE>
            ## Use
            <BLANKLINE>
            Research.
            <BLANKLINE>
        """
        front = yaml.safe_dump(self._front(), sort_keys=False, allow_unicode=True, width=120)
        body = "".join(f"\n## {heading}\n\n{words.strip()}\n" for heading, words in self.sections if words.strip())
        return f"---\n{front}---\n\n# {self.name}\n{body}"

    def _front(self) -> dict[str, object]:
        front: dict[str, object] = {"library_name": "medvlp"}
        if self.licence:
            known = self.licence.lower().replace(" ", "-")
            front |= {"license": known} if known in _KNOWN else {"license": "other", "license_name": self.licence}
        if self.prompted:
            front["pipeline_tag"] = "zero-shot-image-classification"
        own = ["medical-imaging", "radiology", "vision-language", *(["synthetic-data"] if self.synthetic else [])]
        front["tags"] = [*own, *self.tags]
        if self.results:
            front["model-index"] = [{"name": self.name, "results": self._results()}]
        return front

    def _results(self) -> list[dict[str, object]]:
        """Return the numbers by data set and split, as the hub groups them."""
        task = {"type": "zero-shot-image-classification" if self.prompted else "image-classification"}
        found: list[dict[str, object]] = []
        for key in dict.fromkeys((each.dataset, each.dataset_name, each.split) for each in self.results):
            mine = [each for each in self.results if (each.dataset, each.dataset_name, each.split) == key]
            dataset = {"type": key[0], "name": key[1], **({"split": key[2]} if key[2] else {})}
            metrics = [{"type": each.metric, "name": each.name, "value": round(each.value, 4)} for each in mine]
            found.append({"task": dict(task), "dataset": dataset, "metrics": metrics})
        return found


def card_of_fitted(card: str, *, fitted: bool) -> str:
    r"""Return a card that says of probabilities and thresholds where they stand, or nothing where there are none.

    Example:
        >>> card_of_fitted("# A\n\n## Probabilities and thresholds\n\nChosen.\n\n## Limits\n\nFew.\n", fitted=False)
        '# A\n\n## Limits\n\nFew.\n'
    """
    if not fitted:
        return re.sub(rf"{_FITTED}.*?(?=\n## |\Z)", "", card, flags=re.DOTALL)
    own = "" if _FITTED in card else f"{_FITTED}\n{_CHOSEN}\n"
    return re.sub(r"(?=\n## (?:Limits|Where it comes from)\n)|\Z", own, card, count=1)


def fact_list(facts: Mapping[str, object]) -> str:
    r"""Return facts as a list.

    Example:
        >>> fact_list({"samples_seen": 64, "modalities": ["CR", "DX"], "adapted": {"folds": 5}})
        '- samples seen: 64\n- modalities: CR, DX\n- adapted:\n  - folds: 5'
    """
    return "\n".join(f"- {name.replace('_', ' ')}:{_fact(value)}" for name, value in facts.items())


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return f"\n{fact_list(value)}".replace("\n", "\n  ")
    return f" {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
