"""What one evaluation reads, embeds and asks once, for all of its measures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medvlp.answers.asking.ask import answered, ask_of, ask_samples, needs_of
from medvlp.answers.asking.model import VisionLanguageModel, prompt_sets
from medvlp.core.answers import Answer, Ask
from medvlp.core.decoding import Decoding
from medvlp.core.errors import DataError, did_you_mean
from medvlp.core.keys import keys
from medvlp.core.predictions import Predictions
from medvlp.core.protocols import Model
from medvlp.core.provenance import hash_of
from medvlp.core.table import FeatureTable
from medvlp.data.grouping import patient_caveats
from medvlp.data.label_reports import label_caveats
from medvlp.data.leakage import leak_caveats
from medvlp.data.loader import in_order
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import Prepared
from medvlp.data.splits import split_caveats, split_hash
from medvlp.evaluation.audit.audit import with_audit
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.results import Result
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions
from medvlp.features.feature_pass import feature_pass
from medvlp.features.stored import stored_feature_pass
from medvlp.statistics.calibration.calibrators import CalibratorName
from medvlp.statistics.operating_points import DEFAULT_PREVALENCES, DEFAULT_RULES

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """What all measures share.

    Attributes:
        seed: of bootstraps and draws.
        resamples: of the patient bootstrap.
        split: that is judged.
        fit: split on which thresholds, calibrations and conformal sets are chosen; None: nothing is chosen.
        min_positives: positive records that a finding needs to take part in a macro average.
        calibration: map to probabilities that headline figures are of.
        points: further rules of thresholds beside the usual ones.
        prevalences: at which predictive values are given.
        groups: columns of the groups that are compared; those that the data lacks are left out.
        labels: findings of the probes; those of the model where none is named.
        features: folder in which feature tables are kept; None to make them anew.
        decoding: of answers that are written; None: as each does.
    """

    seed: int = 0
    resamples: int = 1000
    split: str = "test"
    fit: str | None = "validate"
    min_positives: int = 30
    calibration: CalibratorName = "platt"
    points: tuple[str, ...] = ()
    prevalences: tuple[float, ...] = DEFAULT_PREVALENCES
    groups: Sequence[str] = ()
    labels: Sequence[str] = ()
    features: Path | None = None
    decoding: Decoding | None = None


@dataclass(frozen=True)
class Part:
    """A split opened for evaluation: its records, features and predictions.

    Attributes:
        prepared: its records.
        table: what the model makes of them.
        said: by answer; filled as answers are asked.
    """

    prepared: Prepared
    table: FeatureTable
    said: dict[str, Predictions] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """The readable records."""
        return self.prepared.manifest


class Evaluation:
    """A running evaluation; the components of `medvlp.measures` take it and yield results.

    Args:
        model: at work.
        whole: all of the data.
        manifest: what is judged of it, and what is chosen and fitted on.
        open: prepares a split with the model's own preprocessing.
        others: opens other records of the same data: column -> values that they must have.
        where: column -> values of the records that are judged.
        options: what all measures share.
        recipe: hash of model and options.
        synthetic: whether the data is synthetic.

    Attributes:
        answers: of the model.
        judged: the split that is judged.
        prompts: sets of findings that the data has labels of.
        labels: findings that probes are fitted for: those asked for, those of its prompts, those that it gives scores
            of, or all there are.
        features: key of the features of pictures for probes and searches.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        *,
        whole: Manifest,
        manifest: Manifest,
        open: Callable[[str], Prepared],
        others: Callable[[Mapping[str, Any]], Manifest],
        where: Mapping[str, Any],
        options: EvaluationOptions,
        recipe: str,
        synthetic: bool,
    ) -> None:
        self.model, self.whole, self.manifest, self.others = model, whole, manifest, others
        self.options, self.recipe, self.synthetic = options, recipe, synthetic
        self.answers = model.answers
        self.features = model.features
        self.where = where
        self._open = open
        self._parts: dict[str, Part] = {}
        self.judged = self._part(options.split, texts=True)
        self.prompts = [p for p in prompt_sets(self.answers) if f"label.{p.label}" in manifest]
        self.labels = self._labels()

    def _labels(self) -> list[str]:
        every = [name.removeprefix("label.") for name in self.manifest.names_of("label")]
        for label in self.options.labels:
            if label not in every:
                raise DataError(f"The data has no label {label!r} of evaluation.labels: {did_you_mean(label, every)}.")
        known = list(self.options.labels) or [p.label for p in self.prompts]
        known = known or next((list(said.scores or ()) for _, _, said in self.giving("scores")), [])
        return [label for label in dict.fromkeys(known) if label in every] or every

    # what there is ---------------------------------------------------------------------------------------------------

    @property
    def sees(self) -> bool:
        """Whether there are features of pictures."""
        return self.features in self.judged.table.columns

    @property
    def shows(self) -> bool:
        """Whether there are pixels to look at: features of slices that were cached have none."""
        return bool(self.manifest.file_columns) and "slices" not in self.manifest.meta

    @property
    def compares(self) -> bool:
        """Whether pictures and texts have embeddings whose dot product means something."""
        return self.sees and self.model.cosines

    @property
    def splits(self) -> frozenset[str]:
        """Names of the splits that the data has."""
        there = self.manifest.column("split").tolist() if "split" in self.manifest else []
        return frozenset(str(split) for split in there)

    @property
    def knows_patients(self) -> bool:
        """Whether the data says whose pictures these are."""
        return "id.patient" in self.manifest

    @property
    def drawn(self) -> dict[str, Any]:
        """Arguments of every result with an interval."""
        return {"seed": self.options.seed, "resamples": self.options.resamples}

    @property
    def facts(self) -> dict[str, Any]:
        """The same, with the split."""
        return {**self.drawn, "split": self.options.split}

    # splits ----------------------------------------------------------------------------------------------------------

    def prepared(self, split: str) -> Prepared:
        """Return the records of a split, for who looks at pictures; they are encoded only by `part`."""
        return self._parts[split].prepared if split in self._parts else self._open(split)

    def part(self, split: str) -> Part:
        """Return a split with its pictures encoded, once for all measures."""
        return self._part(split, texts=False)

    def _part(self, split: str, *, texts: bool) -> Part:
        if split not in self._parts:
            prepared = self._open(split)
            self._parts[split] = Part(prepared, self._encoded(prepared, texts=texts))
        return self._parts[split]

    def _encoded(self, prepared: Prepared, *, texts: bool) -> FeatureTable:
        """Encode what the answers read, the features for probes, and the reports unless `texts` is false."""
        model, folder = self.model.model, self.options.features
        there = [view for view in _views_of(prepared.manifest, model) if texts or view != "text"]
        asked = needs_of(self.answers.values(), model)
        needs = {key for key in asked if key.view in there or (not key.part and key.view in prepared.manifest)}
        needs = {key for key in needs if texts or key.view != "text"}
        needs |= keys(self.features) if model.vision_kind in there else frozenset()
        if texts and "text" in there and self.model.embeds:
            needs |= keys("text/embedding", "text")
        if folder is None:
            return feature_pass(model, in_order(prepared), needs)
        return stored_feature_pass(model, lambda: in_order(prepared), needs, folder=folder)

    @cached_property
    def validation(self) -> Part | None:
        """The split `fit`, for all that is chosen; None without one, or where it is judged."""
        fit = self.options.fit
        if fit is None or fit not in self.splits or self.options.split in ("train", fit) or not self.knows_patients:
            return None
        part = self.part(fit)
        held, judged = (set(each.manifest.column("id.patient").tolist()) for each in (part, self.judged))
        if held & judged:
            logger.info(f"{len(held & judged)} patients are in {fit} and in {self.options.split}: nothing is chosen.")
            return None
        return part

    def seen_rows(self, part: Part | None = None) -> tuple[Manifest, np.ndarray]:
        """Return the records whose picture has features, and these ``(N, D)``: of what is judged, or of a part."""
        part = part or self.judged
        rows = np.flatnonzero(np.isfinite(part.table[self.features]).all(axis=1))
        return part.manifest.take(rows), part.table[self.features][rows]

    def paired(self, part: Part) -> tuple[Manifest, np.ndarray, np.ndarray]:
        """Return the records of a part that have a picture and a text, and the embeddings ``(N, D)`` of both."""
        table = part.table if "text/embedding" in part.table.columns else self._encoded(part.prepared, texts=True)
        there = [f"{view}/embedding" for view in (self.model.model.vision_kind, "text")]
        both = [np.asarray(table.columns.get(key, np.full((len(table), 1), np.nan)), np.float64) for key in there]
        rows = np.flatnonzero(np.isfinite(np.concatenate(both, axis=1)).all(axis=1))
        return part.manifest.take(rows), both[0][rows], both[1][rows]

    # answers ---------------------------------------------------------------------------------------------------------

    def predictions(self, name: str, part: Part | None = None) -> Predictions | None:
        """Return what an answer says of the split that is judged, or of a part; None where it cannot be asked there."""
        part = part or self.judged
        if name not in part.said:
            found = self.asked(self.answers[name], part)
            if found is None:
                return None
            part.said[name] = found
        return part.said[name]

    def asked(self, answer: Answer, part: Part | None = None) -> Predictions | None:
        """Return what an answer, of the model or not, says; pictures are read again where the table lacks its columns.

        Returns:
            None where it cannot be asked: the data does not say what it is to be told, or the part has no texts.
        """
        part, model = part or self.judged, self.model.model
        ask = ask_of(answer, part.manifest, self.options.decoding)
        if ask is None or not self.manifest.file_columns:
            return None
        if answer.asks == "sentences" and answer.streams:  # group by group it sees no other group's texts
            ask = Ask(sentences=tuple(map(str, part.table.columns.get("text", ()))))
        missing = {key for key in answer.needs(model) if str(key) not in part.table.columns}
        if missing and any(key.view != model.vision_kind for key in missing):
            return None
        if missing or answer.streams:
            rows = (part.prepared.sample(index) for index in range(len(part.prepared)))
            return ask_samples({"it": answer}, model, rows, asks={"it": ask})["it"]
        return answered(answer, model, part.table, ask)

    def giving(self, part: str) -> Iterator[tuple[str, Answer, Predictions]]:
        """Yield the answers that fill a part of `Predictions`, with what they say of the split that is judged."""
        for name, answer in self.answers.items():
            if part in answer.gives:
                said = self.predictions(name)
                if said is not None:
                    yield name, answer, said

    @property
    def prompted(self) -> tuple[str, Answer] | None:
        """The first answer that tells findings by prompts; None where there is none."""
        return next(((name, answer) for name, answer in self.answers.items() if answer.prompts), None)

    # scores of findings ----------------------------------------------------------------------------------------------

    def scores(
        self,
        name: str,
        scores: Mapping[str, np.ndarray],
        title: str,
        *,
        groups: Mapping[str, Iterable[Any]] | None = None,
        chosen_on: Mapping[str, np.ndarray] | None = None,
        labels: Mapping[str, np.ndarray] | None = None,
        control: bool = False,
        hashed: str = "",
        notes: Iterable[str] = (),
    ) -> Result:
        """Return the result of scores of the judged pictures: what `medvlp score` says of anybody's.

        Args:
            name: of the result.
            scores: ``(N,)`` by finding.
            title: words for a page.
            groups: further columns of the table, ``group:NAME``; with them the result is audited.
            chosen_on: scores of the validation pictures, on which thresholds, calibrations and conformal sets are
                chosen; without them only the ranking is judged.
            labels: ``(N,)`` by finding, where it is another question than whether the finding is there.
            control: whether it is what a model must beat.
            hashed: what else made the scores.
            notes: sentences that a reader of the numbers has to know.
        """
        asked = {f"label:{label}": values for label, values in (labels or {}).items()}
        table = pd.DataFrame({**scored_rows(self.judged.manifest, scores), **asked, **(groups or {})})
        own = self.options
        options = ScoreOptions(
            seed=own.seed, min_positives=own.min_positives, calibration=own.calibration, prevalences=own.prevalences,
            points=tuple(dict.fromkeys((*DEFAULT_RULES, *own.points))),
        )  # fmt: skip
        facts: dict[str, Any] = {"name": name, "title": title}
        if chosen_on is not None and self.validation is not None:
            chosen = pd.DataFrame(scored_rows(self.validation.manifest, chosen_on))
            ranked = replace(options, resamples=self.options.resamples, ranked=(self.options.split,))
            result = score_predictions(table, validation=chosen, options=ranked, data=self.manifest.hash, **facts)
        else:
            role = "control" if control else "model"
            result = evaluate_scores(table, **self.drawn, min_positives=own.min_positives, role=role, **facts)
            result = with_audit(result, options) if groups else result
        recipe = hash_of([self.recipe, hashed]) if hashed else self.recipe
        return replace(result, recipe=recipe, caveats=(*result.caveats, *notes))

    def marked(self, result: Result) -> Result:
        """Return the result with the hashes of what made it, whether it is synthetic, and what a reader has to know."""
        trained = str(self.model.bundle.provenance.get("split_flaw", ""))
        made_by = (split_caveats, leak_caveats, patient_caveats, label_caveats)
        more = [caveat for caveats in made_by for caveat in caveats(self.whole)]
        more += [f"The model's training: {trained}"] if trained else []
        return replace(
            result,
            recipe=result.recipe or self.recipe,
            data=result.data or self.manifest.hash,
            split=split_hash(self.whole),
            synthetic=self.synthetic,
            cases=result.cases.assign(synthetic=1) if self.synthetic and result.cases is not None else result.cases,
            caveats=(*more, *result.caveats),
        )


def title_of(name: str, answer: Answer) -> str:
    """Return the words of an answer for a page.

    Example:
        >>> from medvlp.answers.findings import Findings
        >>> title_of("my_head", Findings(labels=["edema"]))
        'Findings of a classifier'
    """
    return answer.title or name.replace("_", " ").capitalize()


def scored_rows(manifest: Manifest, scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the columns of a predictions table: who, which split, label and score of each finding.

    Raises:
        DataError: if nobody knows whose pictures these are.
    """
    if "id.patient" not in manifest:
        raise DataError("An evaluation needs the column 'id.patient': intervals are made over patients, name it.")
    rows: dict[str, Any] = {
        "id": manifest.column("id"),
        "patient_id": manifest.column("id.patient"),
        "split": manifest.column("split"),
    }
    for label, values in scores.items():
        if f"label.{label}" in manifest:
            rows[f"label:{label}"] = manifest.column(f"label.{label}")
            rows[f"score:{label}"] = values
    return rows


def _views_of(manifest: Manifest, model: Model) -> list[str]:
    """Return what can be embedded: the model's kind of pictures where the manifest names files, and texts it reads."""
    words = "text" in manifest and model.reads_text
    return [*([model.vision_kind] if manifest.file_columns else []), *(["text"] if words else [])]
