"""What a model still gets right of pictures and words moved to be misread, beside random signs of that size."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from medvlp.answers.asking.model import load
from medvlp.core.answers import Answer
from medvlp.core.attack import Attack, Perturbation
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.keys import keys
from medvlp.core.protocols import Model
from medvlp.core.registry import build
from medvlp.core.sample import Batch, Sample
from medvlp.core.table import FeatureTable
from medvlp.data.collate import collate
from medvlp.data.prepare import Prepared
from medvlp.evaluation.evaluation import Evaluation, Part
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.robustness.evaluate import Condition, evaluate_robustness
from medvlp.features.embed import in_groups
from medvlp.measures._attack_rows import Embedded, finding_rows, recall_rows, thresholds_of
from medvlp.measures._changed_pictures import BATCH, ChangedPictures, frontal_cases, scored_pictures
from medvlp.measures._grounding_maps import evenly

logger = logging.getLogger(__name__)

CONTROL = "random_signs"
_FIT_BATCH = 8


class Attacks(Measure):
    """Attacks on a model that compares images with texts: fitted on rows that nothing is judged on, judged on others.

    Each attack is a group ``NAME=SIZE`` in gray levels, and each size has the control ``random_signs``. Rows are
    ``auroc_difference`` (attacked less clean, paired, of the first answer that gives scores), ``recall_difference@5``
    of both directions, and ``attack_success``: of the decisions that were right the share that is wrong under attack,
    by finding (thresholds of the fitted rows) and pooled (``micro``); of the queries whose own report was among the
    first 5 the share that lost it. Intervals are over patients. ``flagged`` is what the bundle's gate notices.

    Args:
        attacks: components of `medvlp.adaptation.attacks`, by name or with options: ``{name: pgd, epsilon: 4}``.
        cases: frontal pictures with a report, evenly chosen.
        fit_cases: pictures that attacks are fitted on, of the split ``evaluation.fit`` or else of ``train``.
        surrogate: another bundle, on which attacks are made (transfer); None: the model itself, which is known.
        min_positives: positive records that a finding needs to take part in a macro average.

    Raises:
        ConfigError: for no attack, the same one twice, a name that there is not, or a faulty option.

    Note:
        These are worst cases made with the weights, or those of a like model, not noise of a scanner; an attack that
        fails says little, since a stronger one may not.

    Example:
        >>> sorted(Attacks(attacks=["pgd", {"name": "gama", "width": 8}]).attacks)
        ['gama=10', 'pgd=8', 'random_signs=10', 'random_signs=8']
    """

    usual: ClassVar[bool] = False
    order: ClassVar[int] = 94

    def __init__(
        self,
        *,
        attacks: tuple[str | dict[str, Any], ...] = ("pgd", "c_pgc"),
        cases: Annotated[int, Field(ge=1)] = 200,
        fit_cases: Annotated[int, Field(ge=2)] = 128,
        surrogate: str | None = None,
        min_positives: Annotated[int, Field(ge=1)] = 10,
    ) -> None:
        self.cases, self.fit_cases, self.surrogate, self.min_positives = cases, fit_cases, surrogate, min_positives
        self.attacks: dict[str, Attack] = {}
        where = "evaluation.measures.attacks.attacks"
        for at, each in enumerate(attacks):
            spec = {"name": each} if isinstance(each, str) else each
            made: Attack = build("adaptation/attacks", spec, where=f"{where}[{at}]")
            if self.attacks.setdefault(f"{spec['name']}={made.ball}", made) is not made:
                raise ConfigError(f"{where} names {spec['name']!r} of size {made.ball} twice: name each once.")
        if not self.attacks:
            raise ConfigError(f"{where} is empty: set evaluation.measures.attacks to null.")
        for ball in [each.ball for each in self.attacks.values()]:
            spec = {"name": CONTROL, "epsilon": ball.epsilon, "norm": ball.norm}
            self.attacks.setdefault(f"{CONTROL}={ball}", build("adaptation/attacks", spec, where=where))

    def run(self, evaluation: Evaluation) -> Iterator[Result]:
        """Yield one result; nothing for a model without scores of pictures, or that compares them with no texts.

        Raises:
            DataError: if there are no rows to fit on of patients that nothing is judged on.
            ConfigError: if the surrogate is shown pictures of another size, or has no word vectors to attack.
        """
        scored, judged = scored_pictures(evaluation), evaluation.judged
        shown = scored is not None and evaluation.compares and "text" in judged.table.columns
        every = frontal_cases(judged.manifest, judged.table[evaluation.features], len(judged.manifest)) if shown else []
        cases = whole_cases(judged.prepared, every, self.cases)
        if scored is None or not cases:
            logger.info("No attacks: they need pictures with reports, scores, and a model that compares the two.")
            return
        part = fitted_on(evaluation)
        surrogate = evaluation.model.model if self.surrogate is None else surrogate_of(self.surrogate, evaluation)
        for attack in self.attacks.values():
            attack.check(surrogate)
        fitted = part.prepared
        batches = list(batches_of(fitted, whole_cases(fitted, range(len(fitted)), self.fit_cases), fit=True))
        work = Attacked(evaluation, scored[1], cases)
        thresholds = thresholds_of(part.manifest, evaluation.predictions(scored[0], part))
        clean, seen = work.condition("", None)
        changed, rows = [], []
        for name, attack in self.attacks.items():
            logger.info(
                f"Attack {name}: {sum(each.size for each in batches)} pictures to fit, {len(work.cases)} judged."
            )
            condition, moved = work.condition(name, attack.fit(surrogate, batches))
            changed.append(condition)
            made = [*work.recalls(seen, moved), *finding_rows(clean.cases, condition.cases, thresholds)]
            rows += [replace(row, group=name, split=evaluation.options.split) for row in made]
        found = evaluate_robustness(clean, changed, min_positives=self.min_positives, **evaluation.facts)
        options = {
            "fitted_on": evaluation.options.fit if part is evaluation.validation else "train",
            "fit_cases": sum(each.size for each in batches),
            "surrogate": "" if self.surrogate is None else Path(self.surrogate).name,
        }
        title = "Attacks: pictures and words moved to be misread"
        yield replace(found, name="attacks", title=title, metrics=(*found.metrics, *rows), options=options)


@dataclass(frozen=True)
class Attacked:
    """Asks an answer about some rows of what is judged, perturbed batch by batch."""

    evaluation: Evaluation
    answer: Answer
    cases: Sequence[int]

    def condition(self, group: str, perturb: Perturbation | None) -> tuple[Condition, Embedded]:
        """Return the scores, and the embeddings of images and texts, after an attack ``NAME=SIZE`` or as they are."""
        factor, _, level = group.partition("=")
        pieces: list[FeatureTable] = []

        def samples() -> Iterator[Sample]:
            for batch in batches_of(self.evaluation.judged.prepared, self.cases):
                moved = batch if perturb is None else perturb(batch)
                for name, pixels, text in zip(batch.ids, moved["image"].values, moved.strings("text"), strict=True):
                    yield Sample(name, {"image": pixels, "text": text})

        wanted = ("image/embedding", "text/embedding")
        found = ChangedPictures(self.evaluation, self.answer).condition(
            factor, level, self.cases, samples(), more=keys(*wanted), watch=lambda group, table: pieces.append(table)
        )
        image, text = (np.concatenate([table[key] for table in pieces]) for key in wanted)
        return found, Embedded(image, text)

    def recalls(self, seen: Embedded, moved: Embedded) -> list[Metric]:
        """Return what becomes of recalls."""
        judged = self.evaluation.judged
        reports = [str(judged.table.columns["text"][at]) for at in self.cases]
        patients = judged.manifest.take(np.array(self.cases)).column("id.patient").tolist()
        return recall_rows(seen, moved, reports, patients, **self.evaluation.drawn)


def fitted_on(evaluation: Evaluation) -> Part:
    """Return the validation part, else the training part, of patients that nothing is judged on.

    Raises:
        DataError: if there is none.
    """
    if evaluation.validation is not None:
        return evaluation.validation
    if "train" in evaluation.splits and evaluation.options.split != "train" and evaluation.knows_patients:
        part = evaluation.part("train")
        held, judged = (set(each.manifest.column("id.patient").tolist()) for each in (part, evaluation.judged))
        if not held & judged:
            return part
    raise DataError(
        "evaluation.measures.attacks fits on patients that nothing is judged on, of the split evaluation.fit or train; "
        f"the data has the splits {', '.join(sorted(evaluation.splits)) or 'none'}: name a split rule, or leave it out."
    )


def surrogate_of(path: str, evaluation: Evaluation) -> Model:
    """Return the model of another bundle that is shown the same pictures.

    Raises:
        ConfigError: if it is shown pictures of another size, or does not compare them with texts.
    """
    other, plain = load(path), np.zeros((64, 64), np.float32)
    shown = [each.prepare(plain).pixels for each in (other, evaluation.model)]
    sizes = {tuple(pixels.shape) for pixels in shown if isinstance(pixels, Tensor)}
    if len(sizes) != 1 or not other.cosines:
        raise ConfigError(
            f"evaluation.measures.attacks.surrogate {Path(path).name!r} must compare texts with pictures of the size "
            "that this model is shown, since attacks are made in the victim's pixels: choose another bundle."
        )
    return other.model


def whole_cases(prepared: Prepared, rows: Iterable[int], most: int) -> list[int]:
    """Return at most so many rows, evenly, that have an image and a text."""
    there = []
    for at in rows:
        fields = prepared.sample(at).fields
        if isinstance(fields.get("image"), Tensor) and str(fields.get("text", "")).strip():
            there.append(at)
    return [there[at] for at in evenly(len(there), most)]


def batches_of(prepared: Prepared, rows: Sequence[int], *, fit: bool = False) -> Iterator[Batch]:
    """Yield batches of rows with their image and text; those to fit on are small, and have labels too."""
    for some in in_groups(rows, _FIT_BATCH if fit else BATCH):
        samples = []
        for at in some:
            sample = prepared.sample(at)
            wanted = {n for n in sample.fields if n in ("image", "text") or (fit and n.startswith("label."))}
            samples.append(Sample(sample.id, {name: sample.fields[name] for name in wanted}))
        yield collate(samples, torch.tensor(some))
