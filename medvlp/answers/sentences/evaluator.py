"""The sentences of a report before one picture: supported, contradicted, or nothing of it to be seen.

Base rates decide nothing: of each fact that a sentence states only the evidence of the picture counts, by how much it
moves the log-odds of its truth from those of the prior. Limits are conformal, chosen on validation sentences of the
same kind: of new ones like those at most one true one in ten is contradicted, and one false one in ten supported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import logit

from medvlp.answers.sentences.calibration import SentenceCalibration
from medvlp.answers.sentences.rows import Studies, evaluate_sentences, sentence_pairs
from medvlp.core.errors import DataError
from medvlp.statistics.conformal_sets import SetRule
from medvlp.text.mentions import sentences_of_image

Verdict = Literal["supported", "contradicted", "undecided", "not_judged"]
EmbedText = Callable[[Sequence[str]], np.ndarray]
_WHY: Mapping[Verdict, str] = {
    "supported": "the picture fits it better than its contrary",
    "contradicted": "the picture fits its contrary better",
    "undecided": "the picture does not tell it from its contrary",
}
_NO_RULE = "no rule states its contrary"
_UNHEARD = "no validation sentence said this of this finding"


def evidence(calibration: SentenceCalibration, prior: SentenceCalibration, rows: pd.DataFrame) -> np.ndarray:
    """Return (n,): by how much the picture moves the log-odds that each sentence of a table is true."""
    return logit(calibration.probabilities(rows)) - logit(prior.probabilities(rows))


@dataclass(frozen=True)
class EvaluatedSentence:
    """One sentence of a report.

    Attributes:
        text: as it stands there.
        verdict: contradicted where one of its facts is, supported where all are that were judged.
        why: in words.
        facts: plain data of each: kind, finding, said, against (the false sentence), margin, seen, probability, prior,
            verdict.
    """

    text: str
    verdict: Verdict
    why: str
    facts: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, eq=False)
class SentenceEvaluator:
    """What a bundle keeps to check sentences.

    Attributes:
        mean_image: (D,) mean of unit embeddings of validation pictures: what a sentence gains before it, words gain.
        calibration: probability that a sentence is true.
        prior: the same of base rates alone.
        sets: conformal rule of the picture's evidence (`evidence`), by kind of fact.
    """

    mean_image: np.ndarray
    calibration: SentenceCalibration
    prior: SentenceCalibration
    sets: Mapping[str, SetRule]

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> SentenceEvaluator:
        """Rebuild the evaluator from the plain data of `to_plain`.

        Raises:
            DataError: if something is missing.
        """
        try:
            return cls(
                np.asarray(plain["mean_image"], dtype=np.float32),
                SentenceCalibration(**plain["calibration"]),
                SentenceCalibration(**plain["prior"]),
                {kind: SetRule.from_dict(rule) for kind, rule in plain["sets"].items()},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The bundle's calibration of sentences cannot be read ({error}): judge it again."
            ) from None

    def to_plain(self) -> dict[str, Any]:
        """Return plain data for ``bundle.yaml``."""
        return {
            "mean_image": [float(value) for value in self.mean_image],
            "calibration": self.calibration.to_dict(),
            "prior": self.prior.to_dict(),
            "sets": {kind: rule.to_dict() for kind, rule in self.sets.items()},
        }

    def report(self, image: np.ndarray, text: str, embed_text: EmbedText) -> list[EvaluatedSentence]:
        """Check every sentence of a report's findings and impression, in their order.

        Args:
            image: (D,) embedding.
            text: of the report.
            embed_text: texts -> (T, D) unit embeddings.
        """
        sentences = [" ".join(sentence.split()) for sentence in sentences_of_image(text)]
        facts = self.facts(image, text, embed_text)
        known = {fact["sentence"] for fact in facts}
        for sentence in dict.fromkeys(sentences):  # said again what an earlier one says
            facts += [] if sentence in known else self.facts(image, sentence, embed_text)
        return [
            _evaluated(sentence, [fact for fact in facts if fact["sentence"] == sentence]) for sentence in sentences
        ]

    def facts(self, image: np.ndarray, text: str, embed_text: EmbedText) -> list[dict[str, Any]]:
        """Return the facts of a text that can be falsified, each once, in its order; arguments as of `report`."""
        studies = Studies(np.asarray(image)[None], [text], ["one"])
        if not sentence_pairs([text]):
            return []
        made = evaluate_sentences(studies, embed_text, mean_image=self.mean_image)
        rows = made.table[made.table["true"] == 1].reset_index(drop=True)
        columns = (self.calibration.probabilities(rows), self.prior.probabilities(rows), self.calibration.knows(rows))
        verdicts = self.verdicts(rows)
        facts: dict[tuple[str, str, str], dict[str, Any]] = {}
        for at, (pair, probability, prior, known) in enumerate(zip(made.pairs, *columns, strict=True)):
            fact = {
                "sentence": pair.true,
                "kind": pair.kind,
                "finding": pair.finding,
                "said": pair.said,
                "against": pair.false,
                "margin": float(rows["margin"][at]),
                "seen": float(rows["seen"][at]),
                "probability": float(probability) if known else None,
                "prior": float(prior) if known else None,
                "verdict": str(verdicts[at]),
            }
            facts.setdefault((pair.true, pair.kind, pair.finding), fact)
        return list(facts.values())

    def verdicts(self, rows: pd.DataFrame) -> np.ndarray:
        """Return (n,) the verdict on each sentence of a table of `medvlp.answers.sentences.rows`."""
        found = np.full(len(rows), "not_judged", dtype=object)
        kinds, known = rows["kind"].to_numpy(), self.calibration.knows(rows)
        moved = evidence(self.calibration, self.prior, rows)
        for kind, rule in self.sets.items():
            own = known & (kinds == kind)
            made = rule.sets(moved[own])
            said = np.where(made.present, "supported", "contradicted")
            found[own] = np.where(made.answered, said, "undecided")
        return found


def _evaluated(sentence: str, facts: list[dict[str, Any]]) -> EvaluatedSentence:
    said = [fact["verdict"] for fact in facts if fact["verdict"] != "not_judged"]
    if not said:
        return EvaluatedSentence(sentence, "not_judged", _UNHEARD if facts else _NO_RULE, tuple(facts))
    verdict: Verdict = "undecided"
    if "contradicted" in said:
        verdict = "contradicted"
    elif set(said) == {"supported"}:
        verdict = "supported"
    return EvaluatedSentence(sentence, verdict, _WHY[verdict], tuple(facts))
