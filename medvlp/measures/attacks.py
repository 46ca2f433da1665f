"""What a model still gets right of pictures and words moved to be misread, beside random signs of that size."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from medvlp.core.attack import Attack
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.evaluation.evaluation import Evaluation
from medvlp.evaluation.measure import Measure
from medvlp.evaluation.results import Result
from medvlp.evaluation.robustness.evaluate import evaluate_robustness
from medvlp.measures._attack_rows import finding_rows, thresholds_of
from medvlp.measures._attacked import Attacked, batches_of, fitted_on, surrogate_of, whole_cases
from medvlp.measures._changed_pictures import frontal_cases, scored_pictures

logger = logging.getLogger(__name__)

CONTROL = "random_signs"


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
