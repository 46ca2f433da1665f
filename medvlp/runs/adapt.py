"""Adapt a bundle to labelled films: check, split, one feature pass, adapters from cheap to dear, a bundle, a page.

Folds of the training patients choose the adapter and its strength. Validation patients, on whom nothing was fitted,
give thresholds and calibrations. Test patients are judged once, at the end.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.adaptation._adapter import notes_of
from medvlp.adaptation._release import adapted_bundle, scaled
from medvlp.answers.asking.model import load, prompt_sets
from medvlp.answers.prompting.recipe import class_vector
from medvlp.config.tree import EvaluationConfig, GateConfig
from medvlp.core.answers import ProbeTable
from medvlp.core.devices import choose_device
from medvlp.core.errors import UserError
from medvlp.core.files import check_place, read_json, write_json
from medvlp.core.processes import exclusive
from medvlp.core.provenance import code_hash, environment
from medvlp.data.leakage import leak_caveats, seen_of
from medvlp.data.prepare import Prepared
from medvlp.data.splits import part_facts, part_line, split_caveats, split_hash
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.probe_tables import BOTH
from medvlp.measures._probe_tables import labels_of
from medvlp.models.architectures._remembered import Remembered
from medvlp.models.bundle import check_manifest, save_bundle
from medvlp.runs.adapt_choice import ADAPTERS, Tried, adapters_of, choose_adapter, fittable, folds_of
from medvlp.runs.adapt_data import Films, data_of, read_films
from medvlp.runs.evaluate import EvaluationRun, evaluate, leaks_of, open_evaluation
from medvlp.runs.gate import learn_gate, modalities_of
from medvlp.runs.release import release_card
from medvlp.statistics.operating_points import DEFAULT_PREVALENCES, parse_rule

logger = logging.getLogger(__name__)

_LEAST = 3  # patients of each class beyond one a fold


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """What `adapt` is asked: films, their table (see `medvlp.runs.adapt_data.read_films`), a bundle, a folder.

    Attributes:
        test_images, test_labels: films that are judged, where they are a table of their own.
        minutes: after so many no further adapter is begun; the first is always tried.
        folds: of the training patients, on which adapters are chosen.
        adapters: that are tried, in this order; of equal ones the first is chosen.
        sensitivity: wanted of a threshold, beside the usual ones.
        prevalence: of the place where it will be used, for predictive values.
        one_patient_per_image: of a table that names no patients.
        allow_leaks: mark and do not refuse.
        encoding: of the tables.
        seed: of split, folds and bootstrap.
        workers: processes that read.
        device: where the model runs, see `medvlp.load`.
        resamples: of the patient bootstrap.
    """

    images: Path
    labels: Path
    model: Path
    out: Path
    test_images: Path | None = None
    test_labels: Path | None = None
    minutes: float = 15.0
    folds: int = 5
    adapters: tuple[str, ...] = ADAPTERS
    sensitivity: float | None = None
    prevalence: float | None = None
    one_patient_per_image: bool = False
    allow_leaks: bool = False
    encoding: str = "utf-8-sig"
    seed: int = 0
    workers: int = 2
    device: str = "cpu"
    resamples: int = 2000


@dataclass(frozen=True)
class Adaptation:
    """What was made: the bundle and the page."""

    bundle: Path
    page: Path


def adapt(options: AdaptOptions) -> Adaptation:
    """Adapt, release and judge; features and tried adapters of the run's folder are not made again; choices are logged.

    Raises:
        UserError: for anything that the user can mend.
    """
    began = time.monotonic()
    points = [] if options.sensitivity is None else [parse_rule(f"sensitivity_{options.sensitivity:g}").name]
    check_manifest(options.model)
    choose_device(options.device)  # before films are read
    if all(adapter.needs_words for _, adapter in adapters_of(options.adapters)):
        model = load(options.model)
        fittable(options.adapters, words=model.cosines and bool(prompt_sets(model.answers)))
    check_place(options.out)
    with exclusive(options.out, what="adaptation", otherwise="choose another --out", lock=".adaptation.lock"):
        return _adapted(options, points, until=began + 60 * options.minutes)


def _adapted(options: AdaptOptions, points: list[str], *, until: float) -> Adaptation:
    """Read films, choose an adapter, release the bundle and judge it, alone in the folder."""
    _refuse_other(options)
    data, labels = _opened(options)
    judging = EvaluationConfig(
        labels=labels,
        min_positives=1,
        resamples=options.resamples,
        features=str(options.out / "features"),
        points=points,
        prevalences=[*DEFAULT_PREVALENCES] if options.prevalence is None else [options.prevalence],
    )
    run = EvaluationRun(
        model=str(options.model),
        out=str(options.out),
        data=data,
        evaluation=judging,
        seed=options.seed,
        workers=options.workers,
        device=options.device,
    )
    memory = Remembered()  # the bundle that is made looks at films with the towers of the one that it is made of
    evaluation = open_evaluation(run, memory=memory)
    if not evaluation.sees:
        raise UserError(f"{options.model} gives no features of pictures: adapt a bundle that looks at images.")
    if "validate" not in evaluation.splits:
        raise UserError("No film is in the part validate, which chooses thresholds: name some so in the column split.")
    write_json(options.out / "adapt.json", _asked(options))  # only now: a call with a mistake in it may be mended
    logger.info(part_line(part_facts(evaluation.manifest)))
    train = evaluation.part("train")
    table = ProbeTable(
        train.table[evaluation.features],
        labels_of(evaluation, train.manifest),
        train.manifest.column("id.patient").tolist(),
    )
    folds = folds_of(train.manifest, options.folds, seed=options.seed)
    chosen, tried = choose_adapter(
        table, folds, _bank(evaluation, labels), names=options.adapters, until=until, folder=options.out / "adapters"
    )
    logger.info(f"Chosen on {options.folds} folds of the training patients: {chosen.name}.")
    for sentence in notes_of("The bundle gives no score of", chosen.folded.answer.left_out):
        logger.info(sentence)
    _release(options, evaluation, table, chosen, tried)
    adapted = run.model_copy(update={"model": str(options.out / "bundle")})
    judged = evaluate(adapted, keep=True, memory=memory)
    return Adaptation(options.out / "bundle", judged.page)


def _opened(options: AdaptOptions) -> tuple[Any, list[str]]:
    """Read the tables; return the data of the run and the findings that enough patients have."""
    field = load(options.model).fields[0]

    def read(images: Path, table: Path, name: str) -> Films:
        own: Any = {"one_patient_per_image": options.one_patient_per_image, "workers": options.workers}
        out = options.out / f"{name}.parquet"
        return read_films(images, table, out, field=field, encoding=options.encoding, **own)

    films, test = read(options.images, options.labels, "films"), None
    if options.test_labels is not None:
        folder = options.test_images or options.images
        test = (folder, read(folder, options.test_labels, "test"))
    least = options.folds + _LEAST
    labels = [name for name, counts in films.findings.items() if min(counts) >= least]
    if few := {name: counts for name, counts in films.findings.items() if name not in labels}:
        counts = ", ".join(f"{name} ({a} with, {b} without)" for name, (a, b) in few.items())
        logger.info(f"Left out, fewer than {least} patients with or without it: {counts}.")
    if not labels:
        raise UserError(
            f"No finding of {options.labels} has {least} patients with it and {least} without, which {options.folds} "
            "folds need: label more films, or take fewer folds."
        )
    own = {"labels": labels, "seed": options.seed, "allow_leaks": options.allow_leaks}
    return data_of(options.images, films, test=test, **own), labels


def _bank(evaluation: Evaluation, labels: list[str]) -> dict[str, np.ndarray]:
    """Return finding -> text vector, positive less negative prompts, of the findings that the model knows by words."""
    if not evaluation.compares:
        return {}
    embed, found = evaluation.model.embed_text, {}
    for each in prompt_sets(evaluation.answers):
        if each.label in labels:
            positive = class_vector(embed(each.positive))
            found[each.label] = positive - (class_vector(embed(each.negative)) if each.negative else 0.0)
    return found


def _release(
    options: AdaptOptions, evaluation: Evaluation, table: ProbeTable, chosen: Tried, tried: tuple[Tried, ...]
) -> None:
    """Write the bundle, what was tried, and what the page says of the run."""
    base, splits = evaluation.model.bundle, {name: evaluation.prepared(name) for name in ("train", "validate")}
    facts = {
        "adapter": chosen.name,
        "folds": options.folds,
        "data": evaluation.manifest.hash,
        "split": split_hash(evaluation.manifest),
        "leaks_allowed": options.allow_leaks,
        "auroc_of_folds": {each.name: round(each.macro, 4) for each in tried},
        "code": code_hash(),
    }
    answer, scores = chosen.folded.answer, scaled(chosen.folded, table.labels)
    bundle = adapted_bundle(base, answer, scores, features=evaluation.features, facts=facts)
    bundle = replace(bundle, provenance={**bundle.provenance, **_of_films(evaluation, splits["train"])})
    seen = seen_of(
        {name: each.manifest for name, each in splits.items()},
        salt=f"{evaluation.recipe} {evaluation.manifest.hash}",
        near=bool(leaks_of(evaluation.manifest).get("near_images")),
        base=base.seen,
        knows_base=base.seen is not None,
    )
    gate = learn_gate(splits, GateConfig(), base.model.vision_kind)
    areas = ", ".join(f"{each.name} {each.macro:.3f}" for each in tried)
    card = release_card(
        bundle.provenance,
        what=f"{answer.title.removesuffix(f', {BOTH}')} on the frozen features of a released model, fitted to "
        f"{len(table.patients)} films of {len(set(table.patients))} patients"
        f"{', whose features and labels it holds' if 'keys' in answer.tensors else ''}.",
        labels=answer.labels,
        chosen=f"Mean AUROC on {options.folds} folds of the training patients: {areas}",
        prompted=any(each.prompts for each in evaluation.answers.values()),
    )
    save_bundle(options.out / "bundle", replace(bundle, seen=seen, gate=gate, card=card))
    rows = [
        {"name": n.name, "macro": n.macro, "auroc": dict(n.folded.answer.validation_auroc), "seconds": n.seconds}
        for n in tried
    ]
    write_json(options.out / "adapters.json", {"chosen": chosen.name, "tried": rows})
    write_json(options.out / "environment.json", environment())


def _of_films(evaluation: Evaluation, train: Prepared) -> dict[str, object]:
    """Return the provenance of the base with what these films add: flaws of their split, modalities, synthetic ones."""
    before, manifest = evaluation.model.bundle.provenance, evaluation.manifest
    judged = leaks_of(manifest)["model"]["caveats"]  # of who was in the base's training: no flaw of this one
    flaws = [str(before.get("split_flaw", ""))]
    flaws += [s for s in (*split_caveats(manifest), *leak_caveats(manifest)) if s not in judged and s not in flaws[0]]
    known: Any = before.get("modalities", ())
    own = {"split_flaw": " ".join(filter(None, flaws)), "modalities": sorted({*known, *modalities_of(train)})}
    own |= {"synthetic": evaluation.synthetic}
    return {name: value for name, value in own.items() if value}


def _refuse_other(options: AdaptOptions) -> None:
    """Refuse a folder with another run in it, such as the one whose bundle is adapted."""
    path = options.out / "adapt.json"
    other = read_json(path) != _asked(options) if path.is_file() else (options.out / "bundle").exists()
    if other:
        raise UserError(
            f"{options.out} holds a run of other films, another model or other options: choose another --out."
        )


def _asked(options: AdaptOptions) -> dict[str, object]:
    """Return by what a run is known again."""
    return {
        "images": str(options.images.resolve()),
        "labels": str(options.labels.resolve()),
        "model": str(options.model.resolve()),
        "test": None if options.test_labels is None else str(options.test_labels.resolve()),
        "folds": options.folds,
        "seed": options.seed,
    }
