"""Judge a bundle on a data set: zero-shot, laterality, retrieval, linear probe and controls; then the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from medvlp.config.build import build_views
from medvlp.config.fitting import keep_fitted
from medvlp.config.gallery import pictures
from medvlp.config.judge import Judge, views_of
from medvlp.config.measures import MEASURES
from medvlp.config.record import evaluation_record
from medvlp.config.slices import reading_of
from medvlp.config.tree import DataConfig, EvaluationConfig, Node, ReportedConfig
from medvlp.config.yaml import load_tree
from medvlp.core.errors import ConfigError
from medvlp.core.keys import keys
from medvlp.core.progress import progress
from medvlp.core.registry import validation_sentences
from medvlp.core.table import FeatureTable
from medvlp.data.loader import in_order
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import prepare
from medvlp.evaluation.page.gallery_files import write_gallery
from medvlp.evaluation.page.run_folder import write_report_page
from medvlp.evaluation.results import Result, write_result
from medvlp.features.feature_pass import feature_pass
from medvlp.answers.asking.model import load

__all__ = ["Evaluated", "EvaluationRun", "embed_manifest", "evaluate", "load_evaluation"]


# Results whose cases are scores of findings: the first there is gives results/predictions.parquet.
_SCORED = ("zero_shot", "existence")


class EvaluationRun(Node):
    """A bundle, a data set, and how to judge one on the other.

    Attributes:
        model: bundle.
        out: folder; results go to ``out/results``, the page to ``out/report.html``.
        data: as in training; its prefix is not used: preprocessing belongs to the model.
        evaluation: what is measured.
        report: numbers that the table of a suite gives of it.
        seed: of the bootstrap.
        workers: processes that read.
    """

    model: str
    out: str
    data: DataConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    report: list[ReportedConfig] = Field(default_factory=lambda: [ReportedConfig()])
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
    judge = Judge(config.model, config.data, config.evaluation, seed=config.seed, workers=config.workers, say=say)
    found = {result.name: judge.marked(result) for measure in MEASURES for result in measure(judge)}
    out = Path(config.out)
    first = "zero_shot" if "zero_shot" in found else next(iter(found), "")
    for name, result in found.items():
        write_result(
            result,
            out / "results" / f"{name}.json",
            cases="predictions.parquet" if name == first and name in _SCORED else None,
        )
    if config.evaluation.into_bundle:
        _keep(config, found.get(first))
    if config.evaluation.gallery and judge.shows:
        write_gallery(out, *pictures(judge))
    evaluation_record(judge, Path(config.model)).write(out / "evaluation.json")
    if page:
        write_report_page(out, out / "report.html")
    return Evaluated(out / "results" / f"{first}.json", out / "report.html", found)


def _keep(config: EvaluationRun, result: Result | None) -> None:
    """Write thresholds and calibrations into the bundle.

    Raises:
        ConfigError: if there was nothing to choose them on.
    """
    if result is None or result.name not in _SCORED or not result.fitted:
        raise ConfigError(
            f"evaluation.into_bundle: nothing was chosen, the data has no labelled pictures of the split "
            f"{config.evaluation.fit!r}: name one in evaluation.fit that is not judged."
        )
    recipe, calibration = result.name, config.evaluation.calibration
    keep_fitted(Path(config.model), result.fitted, recipe=recipe, data=result.data, calibration=calibration)


def embed_manifest(model: str | Path, manifest: Path, *, root: Path | None, workers: int) -> FeatureTable:
    """Embed every readable record's image and report with a bundle; ``meta`` names the ids that were left out."""
    loaded = load(model)
    table = Manifest.load(manifest, root=root)
    views = build_views(reading_of(table, loaded.bundle.preprocessing, loaded.model), where="preprocessing")
    with progress("Reading", unit="records") as tell:
        prepared = prepare(table, views, cache=None, workers=workers, cap=1.0, progress=tell)
    needs = [f"{view}/embedding" for view in views_of(prepared.manifest, loaded.model)]
    left_out = [record.id for record in prepared.quarantined]
    meta = {"model": str(loaded.bundle.provenance.get("recipe", "")), "data": table.hash, "left_out": left_out}
    return feature_pass(loaded.model, in_order(prepared), keys(*needs), meta=meta)
