"""Judge a bundle on a data set by the measures that a configuration names, and those that are made unasked."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from medvlp.answers.asking.model import load
from medvlp.config.tree import DataConfig, EvaluationConfig, Node, checked
from medvlp.config.yaml import load_tree
from medvlp.core.answers import Answer
from medvlp.core.console import silent
from medvlp.core.decoding import Decoding
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.files import check_place, read_json, write_json
from medvlp.core.memory import keep_freed_memory
from medvlp.core.processes import exclusive
from medvlp.core.progress import Lines
from medvlp.core.provenance import hash_of
from medvlp.data.manifest import Manifest
from medvlp.data.prepare import Prepared
from medvlp.evaluation.evaluation import Evaluation, EvaluationOptions
from medvlp.evaluation.evidence import measured_of
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result, write_result
from medvlp.evaluation.run_files import BEGUN, GALLERY
from medvlp.evaluation.suite import Wanted
from medvlp.measures import chosen_measures
from medvlp.models.architectures._remembered import Remembered
from medvlp.models.architectures._towers import TowerModel
from medvlp.pages.gallery_files import write_gallery
from medvlp.pages.record import Record
from medvlp.pages.run_folder import write_report_page
from medvlp.runs.data import build_views, open_manifest, open_split
from medvlp.runs.fitting import store_fitted
from medvlp.runs.gallery import gallery_of
from medvlp.runs.known import compare_with_training
from medvlp.runs.needs import check_fit
from medvlp.runs.record import evaluation_record
from medvlp.runs.slices import readable_kinds, reading_of

logger = logging.getLogger(__name__)


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
        device: where the model runs, see `medvlp.load`.
    """

    model: str
    out: str
    data: DataConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    report: list[Wanted] = Field(default_factory=lambda: [Wanted()])
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=1)
    device: str = "cpu"


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
    return checked(EvaluationRun, load_tree(path, overrides), source=path)


def evaluate(
    config: EvaluationRun,
    *,
    page: bool = True,
    keep: bool = False,
    memory: Remembered | None = None,
    whole: Manifest | None = None,
) -> Evaluated:
    """Run all that the data allows, and write results, predictions, pictures and the page.

    They replace those of an earlier evaluation in the same folder, also those that are not made this time.

    Args:
        config: what is judged on what.
        page: whether the page is drawn now; `medvlp report` draws it from what is stored.
        keep: whether what was chosen goes into the bundle, as by ``evaluation.into_bundle``, which insists on it.
        memory: as for `open_evaluation`.
        whole: the same.

    Raises:
        ConfigError: for a measure that does not exist, or if nothing was chosen that the bundle should keep.
        UserError: if another evaluation is at work in the folder.
    """
    measures = chosen_measures(config.evaluation.measures)
    check_place(Path(config.out))
    evaluation = open_evaluation(config, memory=memory, whole=whole)
    out = Path(config.out)
    with exclusive(out, what="evaluation", otherwise="choose another out", lock=".evaluation.lock"):
        found = results_of(measures, evaluation)
        scored = [name for name, answer in evaluation.answers.items() if "scores" in answer.gives and name in found]
        first = next(iter([*scored, *found]), "")
        # Drawn first: an evaluation that is stopped while it draws leaves the earlier one as it was.
        count = config.evaluation.gallery if evaluation.shows else 0
        pictures = gallery_of(evaluation, count=count) if count else None
        into, fit = config.evaluation.into_bundle, config.evaluation.fit
        if into and not any(
            found[name].fitted
            or (("scores" not in answer.gives or answer.asks == "question") and measured_of(found, name))
            for name, answer in evaluation.answers.items()
            if name in found
        ):
            raise ConfigError(
                f"evaluation.into_bundle: nothing was chosen, the data has no labelled pictures of the split {fit!r}: "
                "name one in evaluation.fit that is not judged."
            )
        forget_earlier(out)
        write_json(out / BEGUN, {"results": [*found]})
        for name, result in found.items():
            cases = "predictions.parquet" if name == first and scored else None
            write_result(result, out / "results" / f"{name}.json", cases=cases)
        if into or keep:
            chosen_on = None if evaluation.validation is None else evaluation.validation.manifest
            store_fitted(Path(config.model), found, calibration=config.evaluation.calibration, chosen_on=chosen_on)
        if pictures is not None:
            write_gallery(out, *pictures)
        own = {"data": config.data, "options": config.evaluation, "results": found}
        evaluation_record(evaluation, Path(config.model), **own).write(out / "evaluation.json")
        (out / BEGUN).unlink()
        if page:
            write_report_page(out, out / "report.html")
    return Evaluated(out / "results" / f"{first}.json", out / "report.html", found)


def open_evaluation(
    config: EvaluationRun, *, memory: Remembered | None = None, whole: Manifest | None = None
) -> Evaluation:
    """Load the bundle and the data, and encode what is judged.

    Args:
        config: what is judged on what.
        memory: what the same towers gave before.
        whole: what `config.data` describes, where it is open already.
    """
    keep_freed_memory()
    model, options = load(config.model, device=config.device), config.evaluation
    if memory is not None and isinstance(model.model, TowerModel):
        model.model.requires_grad_(False).remembered = memory
    whole, manifest = judged_manifest(config.data, options, whole=whole)
    check_fit(options, set(whole.column("split").tolist()) - {None} if "split" in whole else ())
    prefix = reading_of(manifest, model.bundle.preprocessing, model.model)
    readable_kinds(manifest, build_views(prefix, where="preprocessing"), model.model)
    if "text" in manifest:
        _refuse_too_many(model.answers, len(manifest.split_of(options.split)), options)
    known = compare_with_training(model.bundle.seen, manifest, data=config.data, options=options)
    for each in (whole, manifest):
        each.meta["leaks"] = {**leaks_of(each), "model": known}
    unhashed = {"features"} if options.decoding else {"features", "decoding"}
    several = ["set"] if "sets" in manifest.meta and "set" not in options.groups else []

    def opened(split: str) -> Prepared:
        return open_split(manifest, split, prefix=prefix, data=config.data, workers=config.workers)

    def others(where: Mapping[str, object]) -> Manifest:
        # Nothing is trained or judged on these records but what is already in the cases' studies.
        free = {"where": dict(where), "allow_leaks": True, "near_images": False}
        with silent():
            return open_manifest(config.data.model_copy(update=free))

    return Evaluation(
        model,
        whole=whole,
        manifest=manifest,
        open=opened,
        others=others,
        where=config.data.where,
        options=EvaluationOptions(
            seed=config.seed,
            resamples=options.resamples,
            split=options.split,
            fit=options.fit,
            min_positives=options.min_positives,
            groups=[*options.groups, *several],
            calibration=options.calibration,
            points=tuple(options.points),
            prevalences=tuple(options.prevalences),
            labels=options.labels,
            decoding=Decoding.of(options.decoding),
            features=None if options.features is None else Path(options.features).expanduser(),
        ),
        recipe=hash_of([model.bundle.provenance, options.model_dump(mode="json", exclude=unhashed)]),
        synthetic=bool(whole.meta.get("synthetic", False)),
    )


def _refuse_too_many(answers: Mapping[str, Answer], records: int, options: EvaluationConfig) -> None:
    """Refuse, before hours of encoding, to compare so many pictures with as many texts without embeddings."""
    whole = {name: each.most_pairs for name, each in answers.items() if "embedding" not in each.gives}
    for name, most in whole.items():
        asked = [type(each).__module__ for each in chosen_measures(options.measures) if each.suits(answers[name])]
        if asked and most is not None and records > most:
            measure = asked[0].rpartition(".")[2]
            raise DataError(
                f"The answer {name!r} compares {records} pictures with as many texts, by a score that fills the memory "
                f"beyond {most}: judge fewer by evaluation.where, or set evaluation.measures.{measure}=null."
            )


def leaks_of(manifest: Manifest) -> Mapping[str, Any]:
    """Return what was found of leaks in the data, and of the model's training; empty where nothing was looked for."""
    noted = manifest.meta.get("leaks")
    return noted if isinstance(noted, Mapping) else {}


def judged_manifest(
    data: DataConfig, options: EvaluationConfig, *, whole: Manifest | None = None
) -> tuple[Manifest, Manifest]:
    """Return all of the data, and what ``where`` selects of it; a record of which no study is known is one itself."""
    whole = open_manifest(data) if whole is None else whole
    if "id.study" not in whole:
        whole = whole.with_column("id.study", whole.column("id"))
    elif whole.arrow("id.study").null_count:
        whole = whole.with_column("id.study", _filled(whole.column("id.study").tolist(), whole.column("id").tolist()))
    return whole, whole.where(options.where) if options.where else whole


def _filled(studies: Sequence[str | None], records: Sequence[str]) -> list[str]:
    """Return the studies, where one is blank the record's id, changed where a study is called that already."""
    known, filled = set(studies), []
    for study, record in zip(studies, records, strict=True):
        name = record if study is None else study
        while study is None and name in known:
            name = f"record {name}"
        known.add(name)
        filled.append(name)
    return filled


def results_of(measures: Sequence[Measure], evaluation: Evaluation) -> dict[str, Result]:
    """Return what measures yield by name, which is that of a file."""
    found: dict[str, Result] = {}
    tell = Lines("Measuring", "measures", write=logger.info)
    for done, measure in enumerate(measures):
        tell(done, len(measures), note=type(measure).__name__)
        made = measure.run(evaluation)
        for result in made if isinstance(made, Iterable) else [made]:
            if not isinstance(result, Result) or result is made:
                raise ConfigError(f"{type(measure).__name__}.run gives {type(result).__name__}: let it yield Results.")
            if not re.fullmatch(r"\w[^/\\]*", result.name):
                raise ConfigError(f"{type(measure).__name__} names a result {result.name!r}: give it that of a file.")
            if result.name in found:
                logger.warning(f"Two results are named {result.name!r}: that of {type(measure).__name__} is kept.")
            found[result.name] = evaluation.marked(result)
    return found


def forget_earlier(out: Path) -> None:
    """Remove the results that an earlier evaluation wrote into a folder, and at last its record, which names them.

    They may be of other data or another model, and the page shows all results of its folder. It is done before new
    ones are written, so that no page shows results of two evaluations, whenever the second one is killed. What
    ``evaluation.json`` does not list, nor an evaluation that was killed before it wrote one, was put there by somebody
    else and stays.
    """
    earlier: list[str] = []
    with suppress(DataError, OSError):  # there was none, or nobody knows what it wrote
        earlier += Record.read(out / "evaluation.json").results
    with suppress(DataError, OSError):
        earlier += cast("list[str]", read_json(out / BEGUN)["results"])
    if not earlier:
        return
    folder = out / "results"
    for name in {*earlier, "predictions"}:
        if Path(name).name == name:
            (folder / f"{name}.json").unlink(missing_ok=True)
            (folder / f"{name}.parquet").unlink(missing_ok=True)
    (folder / f"{GALLERY}.json").unlink(missing_ok=True)
    shutil.rmtree(folder / GALLERY, ignore_errors=True)
    (out / "evaluation.json").unlink(missing_ok=True)
    (out / BEGUN).unlink(missing_ok=True)
