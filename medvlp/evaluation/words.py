"""Numbers and names as a reader wants them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medvlp.evaluation.results import Metric, Result
from medvlp.statistics.table import METRICS

REASONS = {
    "no_positives": "no positive case: not defined",
    "no_negatives": "no negative case: not defined",
    "no_rows": "no case",
    "no_labels": "no finding has both classes",
    "none_large_enough": "no finding has enough positive cases",
    "too_few_positives": "fewer than 5 positive patients: no interval",
    "too_few_negatives": "fewer than 5 negative patients: no interval",
    "too_few_patients": "fewer than 5 patients: no interval",
    "rare_findings": "of a finding in this mean fewer than 5 patients are positive, or negative: the interval is "
    "optimistic",
    "few_positives": "30 positive patients or fewer: the interval is optimistic",
    "few_negatives": "30 negative patients or fewer: the interval is optimistic",
    "few_patients": "30 patients or fewer: the interval is optimistic",
    "n_too_small": "n too small: fewer than the least number of patients with or without the finding",
    "no_probabilities": "no probabilities to test",
    "no_validation": "no validation case of one class: nothing was chosen",
    "none_called": "no case is called: not defined",
    "all_called": "every case is called: not defined",
    "none_answered": "no case is answered: not defined",
    "infinite": "a case had probability 0 for what it was: infinite",
    "separated": "a score divides the classes: no interval, or no line",
    "all_equal": "all probabilities are equal: no line",
    "no_spread": "every resample gives the same number: no interval",
    "few_resamples": "defined in too few resamples for this level, or in fewer than half: no interval",
    "survives_randomisation": "the map of random weights is much like the model's own",
    "input_independent": "the maps of different pictures are nearly the same",
}
_LABELS = {
    "image_to_report": "image → report",
    "report_to_image": "report → image",
    "sentence_margin": "margin over false copies",
    "sentence_cosine": "cosine",
    "sentence_blind": "margin without the image",
    "sentence_alike": "like for like, same statement",
    "sentence_calibrated": "calibrated probability",
    "sentence_prior": "base rates alone",
    "hard_negatives": "true before its false copies",
}
_COLUMNS = {"view_position": "view", "age_band": "age"}
_WHY = {"no_positives": "no case is positive", "no_negatives": "no case is negative", "no_rows": "no case has a label"}


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits, or a dash.

    Example:
        >>> number(0.84361), number(None), number(12.5, 1)
        ('0.844', '–', '12.5')
    """
    return "–" if value is None else f"{value:.{digits}f}"


def integer(value: int | None) -> str:
    """Return a count with narrow spaces between thousands.

    Example:
        >>> integer(12345).split(), integer(999)
        (['12', '345'], '999')
    """
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


def p_value(value: float | None) -> str:
    """Return a p value, which is never 0.

    Example:
        >>> p_value(0.03124), p_value(1e-9), p_value(None)
        ('0.0312', '<0.0001', '–')
    """
    return "–" if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def percent(value: float | None) -> str:
    """Return a share in percent.

    Example:
        >>> percent(0.0713), percent(0.41)
        ('7.1 %', '41 %')
    """
    return "–" if value is None else f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"


def interval(row: Metric, digits: int = 3) -> str:
    """Return the interval of a row in words, empty where there is none.

    Example:
        >>> from medvlp.evaluation.results import ConfidenceInterval, Counts
        >>> around, counts = ConfidenceInterval(low=0.7, high=0.9), Counts(n=9, patients=9)
        >>> interval(Metric(metric="auroc", label="x", value=0.8, interval=around, counts=counts))
        '0.700 to 0.900'
    """
    low, high = row.interval.low, row.interval.high
    return "" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"


def finding(label: str) -> str:
    """Return a label as words.

    Example:
        >>> finding("rib_fracture"), finding("image_to_report")
        ('rib fracture', 'image → report')
    """
    return _LABELS.get(label) or words_of(label)


def name_of(name: str, title: str = "") -> str:
    """Return the words for a result or metric: its title, those of a known metric, or the name itself with spaces.

    Example:
        >>> name_of("my_head", "Findings of a classifier"), name_of("ap@0.5"), name_of("my_run")
        ('Findings of a classifier', 'AP@0.5', 'My run')
    """
    if title:
        return title
    words = re.sub(r"\b(auroc|ap)\b", lambda short: short[0].upper(), name.replace("_", " "))
    known = METRICS.get(name)
    return known.words if known is not None and known.words else words[:1].upper() + words[1:]


def tidy(text: str) -> str:
    """Return a report without blank lines and outer white space.

    Example:
        >>> tidy("FINDINGS: clear. ").splitlines(), len(tidy("a" + chr(10) * 3 + "b").splitlines())
        (['FINDINGS: clear.'], 2)
    """
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def rule_words(rule: str | None) -> str:
    """Return the rule of an operating point in words.

    Example:
        >>> rule_words("sensitivity_0.9"), rule_words("youden")
        ('at least 90 % sensitivity', 'largest sensitivity + specificity (Youden)')
    """
    rule = (rule or "").removesuffix("_validate")
    kind, _, target = rule.partition("_")
    if kind in ("sensitivity", "specificity"):
        return f"at least {100 * float(target):g} % {kind}"
    if kind == "cost":
        return f"a missed finding costs {target} false alarms"
    return {"youden": "largest sensitivity + specificity (Youden)", "max_f1": "largest F1"}.get(rule, rule)


def map_words(name: str | None) -> str:
    """Return the name of a calibration in words.

    Example:
        >>> map_words("none"), map_words("platt")
        ('scores as they are', 'Platt scaling')
    """
    known = {"none": "scores as they are", "platt": "Platt scaling", "temperature": "temperature scaling"}
    known |= {"isotonic": "isotonic regression", "dirichlet": "Dirichlet (beta) calibration"}
    return known.get(name or "", name or "")


def words_of(name: str) -> str:
    """Return the name of a finding or column as words.

    Example:
        >>> words_of("rib_fracture"), words_of("view_position")
        ('rib fracture', 'view')
    """
    return _COLUMNS.get(name, name.replace("_", " "))


def group_words(group: str | None) -> str:
    """Return a subgroup in words.

    Example:
        >>> group_words("view_position=AP"), group_words("sex & site=F & A & B"), group_words("site=A & B")
        ('view AP', 'sex F and site A & B', 'site A & B')
    """
    if not group:
        return "everybody"
    names, _, values = group.partition("=")
    pairs = zip(names.split(" & "), values.split(" & ", names.count(" & ")), strict=False)
    return spoken([f"{words_of(name)} {value}".replace("_", " ") for name, value in pairs])


def spoken(words: Sequence[str], *, last: str = "and") -> str:
    """Return words as a list that can be read aloud.

    Example:
        >>> spoken(["a"]), spoken(["a", "b", "c"]), spoken(["PA", "AP"], last="or")
        ('a', 'a, b and c', 'PA or AP')
    """
    return f" {last} ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def undefined_auroc(result: Result) -> list[str]:
    """Return a sentence for each reason that AUROC and average precision of findings are not defined for.

    Example:
        >>> from medvlp.evaluation.results import Counts
        >>> counts = Counts(n=9, patients=9)
        >>> row = Metric(metric="auroc", label="edema", value=None, counts=counts, reason="no_negatives")
        >>> undefined_auroc(Result(name="scores", metrics=(row,)))
        ['AUROC and average precision of edema are not defined: no case is negative.']
    """
    found: dict[tuple[str, str], list[str]] = {}
    for row in result.metrics:
        if row.metric == "auroc" and row.group is None and row.value is None and row.reason in _WHY:
            found.setdefault((row.reason, row.split), []).append(row.label.replace("_", " "))
    return [
        f"AUROC and average precision of {', '.join(labels)} are not defined: {_WHY[reason]}"
        f"{f' in the split {split}' if split else ''}."
        for (reason, split), labels in found.items()
    ]
