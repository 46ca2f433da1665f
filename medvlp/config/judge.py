"""What one evaluation reads and embeds once, for all of its measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medvlp.answers.asking.model import VisionLanguageModel, load, prompt_sets
from medvlp.answers.dual_stream.findings import existence_scores, mounted_streams
from medvlp.config.build import open_manifest, open_split
from medvlp.config.slices import reading_of
from medvlp.config.tree import DataConfig, EvaluationConfig
from medvlp.core.errors import DataError
from medvlp.core.keys import keys
from medvlp.core.memory import keep_freed_memory
from medvlp.core.protocols import Model
from medvlp.core.provenance import hash_of
from medvlp.core.suggest import did_you_mean
from medvlp.core.table import FeatureTable
from medvlp.data.leakage import leak_caveats
from medvlp.data.loader import in_order
from medvlp.data.manifest import Manifest
from medvlp.data.patients import patient_caveats
from medvlp.data.prepare import Prepared
from medvlp.data.splits import split_caveats, split_hash
from medvlp.evaluation.audit import with_audit
from medvlp.evaluation.classification import evaluate_scores
from medvlp.evaluation.results import Result
from medvlp.evaluation.scoring.options import ScoreOptions
from medvlp.evaluation.scoring.score import score_predictions
from medvlp.features.feature_pass import feature_pass
from medvlp.features.kept import kept_feature_pass
from medvlp.phantom.planted import Planted, read_planted

__all__ = ["Judge", "judged_manifest", "scored_rows", "views_of"]


class Judge:
    """One evaluation at work; the functions of `medvlp.config.measures` take it and yield results.

    Args:
        model: path of the bundle.
        data: what it is judged on.
        options: how.
        seed: of the bootstrap.
        workers: processes that read.
        say: told what a reader of the numbers has to know of the split.

    Attributes:
        model: at work.
        whole: all of the data; `manifest` is what ``where`` keeps of it.
        truth: what the synthetic hospital planted; None elsewhere.
        prepared: the split that is judged, `table` its embeddings.
        seen: column of the table with the embeddings of pictures.
        streams: of a dual-stream model.
        prompts: of findings that the data has labels of.
        labels: findings that probes are fitted for: those asked for, those of the prompts, or all there are.
    """

    def __init__(
        self,
        model: str,
        data: DataConfig,
        options: EvaluationConfig,
        *,
        seed: int,
        workers: int,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        keep_freed_memory()
        self.data, self.options, self.say, self.seed, self.workers = data, options, say, seed, workers
        self.model: VisionLanguageModel = load(model)
        self.seen = f"{self.model.model.pictures}/embedding"
        self.streams = mounted_streams(self.model.model)
        self.whole, self.manifest = judged_manifest(data, options, say=say)
        self.truth: Planted | None = read_planted(self.whole.root)
        self.synthetic = bool(self.whole.meta.get("synthetic", self.truth is not None))
        self.recipe = hash_of([self.model.bundle.provenance, options.model_dump(mode="json", exclude={"features"})])
        self.prepared = self.open(options.split)
        self.table = self.embed(self.prepared)
        self.prompts = [p for p in prompt_sets(self.model.bundle) if f"label.{p.label}" in self.manifest]
        asked = options.labels or [p.label for p in self.prompts] or list(self.existence_scores())
        every = [name.removeprefix("label.") for name in self.manifest.names_of("label")]
        for label in options.labels:
            if label not in every:
                raise DataError(f"The data has no label {label!r} of evaluation.labels: {did_you_mean(label, every)}.")
        self.labels = [label for label in asked or every if label in every]
        self._parts: dict[str, tuple[Prepared, FeatureTable]] = {options.split: (self.prepared, self.table)}

    # what measures share --------------------------------------------------------------------------------------------

    @property
    def sees(self) -> bool:
        """Whether there are embeddings of pictures."""
        return self.seen in self.table.columns

    @property
    def shows(self) -> bool:
        """Whether there are pixels to look at: features of slices that were cached have none."""
        return bool(self.manifest.pictures) and "slices" not in self.manifest.meta

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
    def facts(self) -> dict[str, Any]:
        """Arguments of every result: where it comes from."""
        return {
            "recipe": self.recipe,
            "data": self.manifest.hash,
            "split": self.options.split,
            "synthetic": self.synthetic,
        }

    def seen_rows(self, part: tuple[Prepared, FeatureTable] | None = None) -> tuple[Manifest, np.ndarray]:
        """Return the records whose picture has an embedding, and these ``(N, D)``: of what is judged, or of a part."""
        prepared, table = part or (self.prepared, self.table)
        rows = np.flatnonzero(np.isfinite(table[self.seen]).all(axis=1))
        return prepared.manifest.take(rows), table[self.seen][rows]

    def open(self, split: str) -> Prepared:
        """Prepare a split with the model's own preprocessing."""
        prefix = reading_of(self.manifest, self.model.bundle.preprocessing, self.model.model)
        return open_split(self.manifest, split, prefix=prefix, data=self.data, workers=self.workers)

    def embed(self, prepared: Prepared, *, texts: bool = True) -> FeatureTable:
        """Embed pictures, and reports unless `texts` is false."""
        there = [view for view in views_of(prepared.manifest, self.model.model) if texts or view != "text"]
        needs = [f"{view}/embedding" for view in there] + (["text"] if "text" in there else [])
        if self.streams is not None and self.streams.view in there:
            needs.append(self.streams.key("pathology"))
        model, folder = self.model.model, self.options.features
        if folder is None:
            return feature_pass(model, in_order(prepared), keys(*needs))
        return kept_feature_pass(model, lambda: in_order(prepared), keys(*needs), folder=Path(folder).expanduser())

    def part(self, split: str) -> tuple[Prepared, FeatureTable]:
        """Return a split with its pictures embedded, once for all measures."""
        if split not in self._parts:
            prepared = self.open(split)
            self._parts[split] = prepared, self.embed(prepared, texts=False)
        return self._parts[split]

    @cached_property
    def validation(self) -> tuple[Prepared, FeatureTable] | None:
        """The split `fit` and its embeddings, for all that is chosen; None without one, or where it is judged."""
        fit = self.options.fit
        if fit is None or fit not in self.splits or self.options.split in ("train", fit) or not self.knows_patients:
            return None
        prepared, table = self.part(fit)
        held, judged = (set(each.manifest.column("id.patient").tolist()) for each in (prepared, self.prepared))
        if held & judged:
            self.say(f"{len(held & judged)} patients are in {fit} and in {self.options.split}: nothing is chosen.")
            return None
        return prepared, table

    # scores of findings ---------------------------------------------------------------------------------------------

    def zero_shot_scores(self, table: FeatureTable | None = None) -> dict[str, np.ndarray]:
        """Scores of the bundle's prompts by finding, of what is judged or of another table."""
        table = self.table if table is None else table
        return self.model.zero_shot.by_label(table[self.seen])

    def existence_scores(self, table: FeatureTable | None = None) -> dict[str, np.ndarray]:
        """Scores of a dual-stream model; findings without a label column are left out."""
        table = self.table if table is None else table
        if self.streams is None or self.streams.key("pathology") not in table.columns:
            return {}
        found = existence_scores(table, self.streams)
        return {label: values for label, values in found.items() if f"label.{label}" in self.manifest}

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
        """
        asked = {f"label:{label}": values for label, values in (labels or {}).items()}
        table = pd.DataFrame({**scored_rows(self.prepared.manifest, scores), **asked, **(groups or {})})
        if chosen_on is not None and self.validation is not None:
            return score_predictions(
                table,
                validation=pd.DataFrame(scored_rows(self.validation[0].manifest, chosen_on)),
                options=ScoreOptions(
                    seed=self.seed,
                    resamples=self.options.resamples,
                    min_positives=self.options.min_positives,
                    ranked=(self.options.split,),
                ),
                name=name,
                title=title,
                recipe=hash_of([self.recipe, hashed]) if hashed else self.recipe,
                data=self.manifest.hash,
                synthetic=self.synthetic,
            )
        result = evaluate_scores(
            table,
            seed=self.seed,
            resamples=self.options.resamples,
            min_positives=self.options.min_positives,
            name=name,
            title=title,
            role="control" if control else "model",
            recipe=hash_of([self.recipe, hashed]) if hashed else self.recipe,
            data=self.manifest.hash,
            synthetic=self.synthetic,
        )
        if not groups:
            return result
        return with_audit(result, ScoreOptions(seed=self.seed, min_positives=self.options.min_positives))

    def marked(self, result: Result) -> Result:
        """Return the result with the hash of the split, and what a reader has to know of it."""
        trained = str(self.model.bundle.provenance.get("split_flaw", ""))
        caveats = [f"The model's training: {trained}"] if trained else []
        own = (*split_caveats(self.whole), *leak_caveats(self.whole), *patient_caveats(self.whole))
        return replace(result, split=split_hash(self.whole), caveats=(*own, *caveats, *result.caveats))


def judged_manifest(
    data: DataConfig, options: EvaluationConfig, *, say: Callable[[str], None] = lambda text: None
) -> tuple[Manifest, Manifest]:
    """Return all of the data, and what ``where`` keeps of it; where no studies are known, each record is one.

    Args:
        data: where it is.
        options: of the evaluation.
        say: told what a reader of the numbers has to know of the split.
    """
    whole = open_manifest(data, say=say)
    if "id.study" not in whole:
        whole = whole.with_column("id.study", whole.column("id"))
    return whole, whole.where(options.where) if options.where else whole


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


def views_of(manifest: Manifest, model: Model) -> list[str]:
    """Return what can be embedded: the model's kind of pictures where the manifest names files, and texts it reads."""
    words = "text" in manifest and model.reads_text
    return [*([model.pictures] if manifest.pictures else []), *(["text"] if words else [])]
