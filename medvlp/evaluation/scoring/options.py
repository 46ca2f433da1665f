"""What `medvlp score` is asked to do; stored with the result, so that its numbers can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medvlp.core.errors import ConfigError
from medvlp.evaluation.predictions import Policy, check_policy
from medvlp.statistics.calibration.calibrators import CALIBRATORS, CalibratorName
from medvlp.statistics.intervals import DEFAULT_FORM, Form, check_form
from medvlp.statistics.operating_points import DEFAULT_PREVALENCES, DEFAULT_RULES, parse_rule

MIN_GROUP = 10
"""With fewer patients of a class an AUROC of a group may be anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """Options of the statistics of a predictions table.

    Attributes:
        seed: of the bootstrap.
        resamples: of patients; 0 for no bootstrap intervals.
        level: confidence level.
        interval: form of the bootstrap intervals, see `intervals`.
        policy: what is done with uncertain labels, see `predictions`.
        min_positives: positive rows that a finding needs to take part in an average.
        points: rules of the operating points, see `operating_points`.
        prevalences: at which predictive values are given.
        calibrations: maps that are fitted on validation rows.
        calibration: the one of them that is released: headline figures, tables and decisions are of it.
        bins: of the calibration error.
        probabilities: the scores are said to be probabilities: their calibration as they are is the one that headline
            figures, tables and decisions are of, and it is measured without validation too.
        decisions: threshold probabilities at which the net benefit is given.
        coverage: asked of conformal sets.
        ranked: splits whose AUROC and AP are given; None: all.
        min_group: patients with a finding, and without it, that a group needs for any number.
        shortcuts: group columns that say where or how a picture was made: a score should not know them.
    """

    seed: int = 0
    resamples: int = 2000
    level: float = 0.95
    interval: Form = DEFAULT_FORM
    policy: Policy = "u_ignore"
    min_positives: int = 1
    points: tuple[str, ...] = DEFAULT_RULES
    prevalences: tuple[float, ...] = DEFAULT_PREVALENCES
    calibrations: tuple[CalibratorName, ...] = CALIBRATORS
    calibration: CalibratorName = "platt"
    bins: int = 15
    probabilities: bool = False
    decisions: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5)
    coverage: float = 0.9
    ranked: tuple[str, ...] | None = None
    min_group: int = MIN_GROUP
    shortcuts: tuple[str, ...] = ("site", "scanner", "view", "view_position", "source")

    def __post_init__(self) -> None:
        check_form(self.interval)
        check_policy(self.policy)
        for point in self.points:
            parse_rule(point)
        unknown = [name for name in self.calibrations if name not in CALIBRATORS]
        if unknown:
            raise ConfigError(f"There is no calibration {unknown[0]!r}: use {', '.join(CALIBRATORS)}.")
        for name, shares in (
            ("level", (self.level,)),
            ("coverage", (self.coverage,)),
            ("prevalence", self.prevalences),
            ("decision threshold", self.decisions),
        ):
            for share in shares:
                if not 0 < share < 1:
                    raise ConfigError(f"The {name} {share:g} is no share between 0 and 1: give one such as 0.9.")
        if self.resamples < 0 or self.bins < 1 or self.min_positives < 1:
            raise ConfigError("resamples must be 0 or more, bins and min_positives 1 or more.")
        if self.min_group < 2:
            raise ConfigError(
                f"min_group is {self.min_group}: a group needs 2 patients with a finding and 2 without it."
            )

    @property
    def released(self) -> str:
        """The map of headline figures: ``"none"`` where the scores are said to be probabilities."""
        return "none" if self.probabilities else self.calibration

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ScoreOptions:
        """Return the options of plain data.

        Raises:
            ConfigError: if a key is unknown or a value makes no sense.

        Example:
            >>> ScoreOptions.from_dict(ScoreOptions(seed=3).to_dict()) == ScoreOptions(seed=3)
            True
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(stored) - known)
        if unknown:
            raise ConfigError(f"The stored options name {unknown[0]!r}, which is none: score the predictions again.")
        try:
            return TypeAdapter(cls).validate_python(dict(stored))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ConfigError(
                f"The stored option {'.'.join(map(str, first['loc']))} cannot be read ({first['msg']}): "
                f"score the predictions again."
            ) from error
