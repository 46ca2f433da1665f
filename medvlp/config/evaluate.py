"""Judge a bundle on a data set: zero-shot, laterality, retrieval, linear probe and controls; then the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError

from medvlp.config.build import build_views, open_manifest, open_split
from medvlp.config.gallery import make_gallery, make_retrieval_examples, picture_of
from medvlp.config.tree import DataConfig, EvaluationConfig, Node
from medvlp.config.yaml import load_tree
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import keys
from medvlp.core.memory import keep_freed_memory
from medvlp.core.progress import progress
from medvlp.core.provenance import hash_of
from medvlp.core.registry import validation_sentences
from medvlp.core.table import FeatureTable
from medvlp.data.leakage import leak_caveats
from medvlp.data.loader import in_order
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import Prepared, prepare
from medvlp.data.splits import split_caveats, split_hash
from medvlp.evaluation.classification import evaluate_scores, size_terciles
from medvlp.evaluation.page.run_folder import write_gallery, write_report_page
from medvlp.evaluation.probe import ProbeData, fit_linear_probe, thumbnails
from medvlp.evaluation.results import Result, write_result
from medvlp.evaluation.retrieval import evaluate_retrieval
from medvlp.features.feature_pass import feature_pass
from medvlp.phantom.planted import Planted, read_planted
from medvlp.prediction.laterality import side_margins
from medvlp.prediction.model import VisionLanguageModel, load, prompt_sets

__all__ = ["Evaluated", "EvaluationRun", "embed_manifest", "evaluate", "load_evaluation"]


class EvaluationRun(Node):
    """A bundle, a data set, and how to judge one on the other.

    Attributes:
        model: bundle.
        out: folder; results go to ``out/results``, the page to ``out/report.html``.
        data: as in training; its prefix is not used: preprocessing belongs to the model.
        evaluation: what is measured.
        seed: of the bootstrap.
        workers: processes that read.
    """

    model: str
    out: str
    data: DataConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=1)


@dataclass(frozen=True)
class Evaluated:
    """Where the outcome lies, and the outcome."""

    results: Path
    page: Path
    found: Mapping[str, Result]


def load_evaluation(path: str | Path, overrides: Sequence[str] = ()) -> EvaluationRun:
    """Read and check the configuration of an evaluation.

    Raises:
        ConfigError: with one sentence a fault, all at once.
    """
    try:
        return EvaluationRun.model_validate(load_tree(path, overrides))
    except ValidationError as error:
        raise ConfigError(f"{path}: {' '.join(validation_sentences(error, where='', model=EvaluationRun))}") from None


def evaluate(config: EvaluationRun, *, page: bool = True, say: Callable[[str], None] = lambda text: None) -> Evaluated:
    """Run all that the data allows, and write results, predictions, pictures and the page.

    Args:
        config: what is judged on what.
        page: whether the page is drawn now; `medvlp report` draws it from what is kept.
        say: told what a reader of the numbers has to know of the split.
    """
    judge = _Judge(config, say)
    found = {result.name: judge.marked(result) for result in judge.results()}
    out = Path(config.out)
    for name, result in found.items():
        write_result(
            result, out / "results" / f"{name}.json", cases="predictions.parquet" if name == "zero_shot" else None
        )
    if config.evaluation.gallery and judge.manifest.pictures:
        write_gallery(out, *judge.pictures())
    if page:
        write_report_page(out, out / "report.html")
    first = "zero_shot" if "zero_shot" in found else next(iter(found), "")
    return Evaluated(out / "results" / f"{first}.json", out / "report.html", found)


def embed_manifest(model: str | Path, manifest: Path, *, root: Path | None, workers: int) -> FeatureTable:
    """Embed every readable record's image and report with a bundle; ``meta`` names the ids that were left out."""
    loaded = load(model)
    table = Manifest.load(manifest, root=root)
    views = build_views(loaded.bundle.preprocessing, where="preprocessing")
    with progress("Reading", unit="records") as tell:
        prepared = prepare(table, views, cache=None, workers=workers, cap=1.0, progress=tell)
    needs = [f"{view}/embedding" for view in _views_of(prepared.manifest, loaded.model.pictures)]
    left_out = [record.id for record in prepared.quarantined]
    meta = {"model": str(loaded.bundle.provenance.get("recipe", "")), "data": table.hash, "left_out": left_out}
    return feature_pass(loaded.model, in_order(prepared), keys(*needs), meta=meta)


class _Judge:
    """One evaluation: what is read and embedded once and used by several measures."""

    def __init__(self, config: EvaluationRun, say: Callable[[str], None]) -> None:
        keep_freed_memory()
        self.config, self.options = config, config.evaluation
        self.model: VisionLanguageModel = load(config.model)
        self.seen = f"{self.model.model.pictures}/embedding"
        whole = open_manifest(config.data, say=say)
        self.whole = whole
        self.manifest = whole.where(self.options.where) if self.options.where else whole
        self.truth: Planted | None = read_planted(whole.root)
        self.synthetic = bool(whole.meta.get("synthetic", self.truth is not None))
        self.recipe = hash_of([self.model.bundle.provenance, self.options.model_dump(mode="json")])
        self.prepared = self._open(self.options.split)
        self.table = self._embed(self.prepared)
        self.prompts = [p for p in prompt_sets(self.model.bundle) if f"label.{p.label}" in self.manifest]

    def marked(self, result: Result) -> Result:
        """The result with the hash of the split, and what a reader has to know of it."""
        trained = str(self.model.bundle.provenance.get("split_flaw", ""))
        caveats = [f"The model's training: {trained}"] if trained else []
        own = (*split_caveats(self.whole), *leak_caveats(self.whole))
        return replace(result, split=split_hash(self.whole), caveats=(*own, *caveats))

    # measures -------------------------------------------------------------------------------------------------------

    def results(self) -> Iterator[Result]:
        """Yield every result that the data allows."""
        if self.prompts and self.seen in self.table.columns:
            yield self._scores("zero_shot", self._zero_shot_scores(), "Zero-shot, prompt pairs", groups=True)
            sides = self._sides()
            if sides is not None:
                yield sides
        if {self.seen, "text/embedding"} <= set(self.table.columns):
            yield self._retrieval()
        if self.options.probe and self.prompts and self.seen in self.table.columns:
            yield from self._probes()

    def _zero_shot_scores(self) -> dict[str, np.ndarray]:
        scores = self.model.zero_shot.scores(self.table[self.seen])
        return {label: scores[:, i] for i, label in enumerate(self.model.zero_shot.labels)}

    def _scores(
        self, name: str, scores: Mapping[str, np.ndarray], title: str, *, groups: bool = False, control: bool = False
    ) -> Result:
        rows = _facts(self.prepared.manifest)
        for prompts in self.prompts:
            if prompts.label in scores:
                rows[f"label:{prompts.label}"] = self.prepared.manifest.column(f"label.{prompts.label}")
                rows[f"score:{prompts.label}"] = scores[prompts.label]
        if groups:
            rows |= self._groups()
        return evaluate_scores(
            pd.DataFrame(rows),
            seed=self.config.seed,
            resamples=self.options.resamples,
            min_positives=self.options.min_positives,
            recipe=self.recipe,
            data=self.manifest.hash,
            name=name,
            title=title,
            role="control" if control else "model",
            synthetic=self.synthetic,
        )

    def _groups(self) -> dict[str, Any]:
        manifest = self.prepared.manifest
        groups: dict[str, Any] = {f"group:{n}": manifest.column(n) for n in self.options.groups if n in manifest}
        if self.truth is not None:
            for prompts in self.prompts:
                sizes = np.array([_size(self.truth, study, prompts.label) for study in manifest.column("id.study")])
                positive = np.asarray(manifest.column(f"label.{prompts.label}"), dtype=float) == 1
                if len(np.unique(sizes[positive & (sizes > 0)])) >= 3:
                    groups[f"group:size@{prompts.label}"] = size_terciles(sizes, positive)
        return groups

    def _sides(self) -> Result | None:
        """score(left X) - score(right X) on unilateral positives of all findings, pooled."""
        if self.truth is None:
            return None
        margins = side_margins(self.table[self.seen], self.prompts, self.model.embed_text)
        manifest = self.prepared.manifest
        facts = zip(manifest.column("id"), manifest.column("id.patient"), manifest.column("id.study"), strict=True)
        rows = []
        for i, (record, patient, study) in enumerate(facts):
            for label, values in margins.items():
                sides = {f.side for f in self.truth.findings.get(study, ()) if f.name == label}
                if sides in ({"left"}, {"right"}):
                    left = float(sides == {"left"})
                    rows.append((f"{record}/{label}", patient, left, float(values[i]), label))
        if not rows:
            return None
        columns = ["id", "patient_id", "label:left_of_right", "score:left_of_right", "group:finding"]
        return evaluate_scores(
            pd.DataFrame(rows, columns=columns).assign(split=self.options.split),
            seed=self.config.seed,
            resamples=self.options.resamples,
            recipe=self.recipe,
            data=self.manifest.hash,
            name="laterality",
            title="Left against right, unilateral findings",
            synthetic=self.synthetic,
        )

    def _retrieval(self) -> Result:
        manifest = self.prepared.manifest
        complete = np.isfinite(self.table["text/embedding"]).all(1) & np.isfinite(self.table[self.seen]).all(1)
        first = self._first_of_study() & complete
        table = self.table.rows(first)
        chosen = manifest.take(first)
        return evaluate_retrieval(
            table[self.seen],
            table["text/embedding"],
            [str(text) for text in table.columns["text"]],
            chosen.column("id.patient").tolist(),
            ids=list(table.ids),
            seed=self.config.seed,
            resamples=self.options.resamples,
            recipe=self.recipe,
            data=self.manifest.hash,
            split=self.options.split,
            title="Image and report retrieval",
            synthetic=self.synthetic,
            ks=tuple(k for k in (1, 5, 10) if k <= len(table)),
        )

    def _probes(self) -> Iterator[Result]:
        there = set(self.manifest.column("split").tolist())
        if not {"train", "validate"} <= there:
            return
        opened = {"train": self._open("train"), "validate": self._open("validate"), "test": self.prepared}
        tables = {**{s: self._embed(opened[s], texts=False) for s in ("train", "validate")}, "test": self.table}
        deep = {split: table[self.seen] for split, table in tables.items()}
        yield self._probe("linear_probe", "Linear probe", opened, deep, control=False)
        small = {split: _thumbnails(prepared) for split, prepared in opened.items()}
        yield self._probe("thumbnail", "Control: 16 x 16 thumbnail", opened, small, control=True)

    def _probe(
        self,
        name: str,
        title: str,
        opened: Mapping[str, Prepared],
        features: Mapping[str, np.ndarray],
        *,
        control: bool,
    ) -> Result:
        names = [p.label for p in self.prompts]
        data = {
            split: ProbeData(
                features[split],
                np.stack([np.asarray(opened[split].manifest.column(f"label.{n}"), dtype=float) for n in names], axis=1),
                opened[split].manifest.column("id.patient").tolist(),
            )
            for split in ("train", "validate")
        }
        probe = fit_linear_probe(data["train"], data["validate"], names=names)
        scores = probe.scores(features["test"])
        return self._scores(name, {n: scores[:, i] for i, n in enumerate(probe.names)}, title, control=control)

    # pictures -------------------------------------------------------------------------------------------------------

    def pictures(self) -> tuple[list[Any], list[Any]]:
        """Return the gallery and the retrieval examples."""
        scores = self._zero_shot_scores() if self.prompts else {}
        gallery = make_gallery(self.model, self.prepared, scores, self.truth, count=self.options.gallery)
        examples = []
        if "text/embedding" in self.table.columns:
            examples = make_retrieval_examples(self.model, self.prepared, self.table, self._first_of_study())
        return gallery, examples

    # ----------------------------------------------------------------------------------------------------------------

    def _open(self, split: str) -> Prepared:
        return open_split(
            self.manifest,
            split,
            prefix=self.model.bundle.preprocessing,
            data=self.config.data,
            workers=self.config.workers,
        )

    def _embed(self, prepared: Prepared, *, texts: bool = True) -> FeatureTable:
        there = [view for view in _views_of(prepared.manifest, self.model.model.pictures) if texts or view != "text"]
        needs = [f"{view}/embedding" for view in there] + (["text"] if "text" in there else [])
        return feature_pass(self.model.model, in_order(prepared), keys(*needs))

    def _first_of_study(self) -> np.ndarray:
        studies = pd.Series(self.prepared.manifest.column("id.study"))
        return ~studies.duplicated().to_numpy()


def _facts(manifest: Manifest) -> dict[str, Any]:
    if "id.patient" not in manifest:
        raise DataError("An evaluation needs the column 'id.patient': intervals are made over patients, name it.")
    return {
        "id": manifest.column("id"),
        "patient_id": manifest.column("id.patient"),
        "split": manifest.column("split"),
    }


def _views_of(manifest: Manifest, pictures: str) -> list[str]:
    """Return what can be embedded: the model's kind of pictures where the manifest names files, and texts."""
    return [*([pictures] if manifest.pictures else []), *(["text"] if "text" in manifest else [])]


def _size(truth: Planted, study: str, label: str) -> float:
    return max((f.size for f in truth.findings.get(study, ()) if f.name == label), default=0.0)


def _thumbnails(prepared: Prepared) -> np.ndarray:
    shown = (prepared.sample(index) for index in range(len(prepared)))
    return np.concatenate([thumbnails(np.asarray(picture_of(sample))[None]) for sample in shown])
