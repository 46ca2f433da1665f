"""The `radgraph` package, where it is installed: reports -> triplets.

The package is an extra (``pip install openmedvlp[nlp]``). It fetches its network's weights from the internet
when it is first used; medvlp itself fetches nothing. Annotations made elsewhere are read by `read_radgraph`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence

from medvlp.core.errors import DataError, UserError
from medvlp.text.radgraph import RadGraphReport, parse_radgraph

__all__ = ["Annotator", "annotate", "load_annotator"]

Annotator = Callable[[list[str]], Mapping[str, object]]


def load_annotator(model_type: str = "modern-radgraph-xl") -> Annotator:
    """Return the package's annotator: a list of reports -> ``{"0": {text, entities}, ...}``.

    Args:
        model_type: which of its networks.

    Raises:
        UserError: if the package, or one that it forgets to require, is not installed.
    """
    for package in ("radgraph", "requests"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"Annotating reports needs the package {package!r}, which is not installed: pip install radgraph "
                "requests, or annotate elsewhere and give the JSON file."
            )
    return importlib.import_module("radgraph").RadGraph(model_type=model_type)


def annotate(
    texts: Mapping[str, str], *, annotator: Annotator | None = None, subjects: Mapping[str, str] | None = None
) -> tuple[RadGraphReport, ...]:
    """Annotate reports.

    Args:
        texts: study id -> report.
        annotator: of the package; default `load_annotator()`.
        subjects: study id -> patient id.

    Raises:
        UserError: if the package is not installed.
        DataError: if a report is blank, or the package leaves one out.

    Example:
        >>> entity = {"tokens": "clear", "label": "Observation::definitely present", "start_ix": 1, "relations": []}
        >>> fixed = lambda reports: {"0": {"text": "Lungs clear .", "entities": {"1": entity}}}
        >>> annotate({"s1": "Lungs clear."}, annotator=fixed)[0].study_id
        's1'
    """
    blank = [number for number, text in enumerate(texts.values(), start=1) if not text.strip()]
    if blank:
        raise DataError(f"{len(blank)} reports are blank, the first is number {blank[0]}: leave them out.")
    if not texts:
        return ()
    found = (annotator or load_annotator())(list(texts.values()))
    numbered = parse_radgraph(_of_all(found, len(texts)), place="The radgraph package's output")
    reports = {report.study_id: report for report in numbered}
    people = subjects or {}
    return tuple(
        RadGraphReport(study, people.get(study, ""), reports[str(place)].sentences, reports[str(place)].entities)
        for place, study in enumerate(texts)
    )


def _of_all(found: Mapping[str, object], count: int) -> Mapping[str, object]:
    wanted: Sequence[str] = [str(place) for place in range(count)]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"The radgraph package returned no annotation for {len(missing)} of {count} reports, the first is number "
            f"{int(missing[0]) + 1}: leave them out."
        )
    return {name: found[name] for name in wanted}
