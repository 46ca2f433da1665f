"""The package's public interface: a list of reports -> {"0": {text, entities, ...}}."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import pytest

from medvlp.core.errors import DataError, UserError
from medvlp.text.adapters.radgraph_package import annotate
from medvlp.text.triplet_files import of_radgraph
from tests.text.radgraph_graphs import entry


def clear_lungs(reports: list[str]) -> Mapping[str, object]:
    """Find "clear" located at "lungs" in every report that has words, as the package answers."""
    label = "definitely present"
    made = entry(
        "Lungs clear .", ("Lungs", f"Anatomy::{label}", ""), ("clear", f"Observation::{label}", "located_at Lungs")
    )
    return {str(place): made for place in range(len(reports))}


def test_reports_keep_their_study_and_patient() -> None:
    reports = annotate({"s1": "Lungs clear.", "s2": "Lungs clear."}, annotator=clear_lungs, subjects={"s2": "p2"})
    assert [(report.study_id, report.subject_id) for report in reports] == [("s1", ""), ("s2", "p2")]
    triplet = of_radgraph(reports[1]).triplets[0].triplet
    assert (triplet.anatomy, triplet.observation, triplet.presence) == ("lungs", "clear", "present")
    assert annotate({}, annotator=clear_lungs) == ()


def test_blank_reports_and_missing_answers_are_refused_by_number() -> None:
    with pytest.raises(DataError, match="1 reports are blank, the first is number 2: leave them out"):
        annotate({"s1": "Clear.", "s2": " "}, annotator=clear_lungs)
    with pytest.raises(DataError, match="no annotation for 1 of 2 reports, the first is number 2"):
        annotate({"s1": "Clear.", "s2": "Clear."}, annotator=lambda reports: clear_lungs(reports[:1]))


@pytest.mark.skipif(importlib.util.find_spec("radgraph") is not None, reason="the radgraph package is installed")
def test_without_the_package_the_way_to_get_it_is_told() -> None:
    with pytest.raises(UserError, match="needs the package 'radgraph', which is not installed: pip install radgraph"):
        annotate({"s1": "Clear."})
