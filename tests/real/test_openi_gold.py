"""Labels read from the Open-i reports against the gold labels of NegBio (Peng et al., AMIA Summit 2018).

The rules were written and tuned with the even report numbers in sight only; the odd ones are scored here.
"""

from __future__ import annotations

import csv
import tarfile
import xml.etree.ElementTree as ET
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from statistics import mean

import pytest

from medvlp.text.labels import label_report
from medvlp.text.ontology import vocabulary

NOT_SCORED = {"Hernia", "normal"}  # never positive, and no finding


def reports() -> dict[str, str]:
    """Give findings and impression of each report of the package, or skip."""
    package = find_spec("torchxrayvision")
    if package is None or package.origin is None:
        pytest.skip("the package torchxrayvision is not installed, which holds the Open-i reports")
    texts: dict[str, str] = {}
    with tarfile.open(Path(package.origin).parent / "data" / "NLMCXR_reports.tgz") as archive:
        for member in archive:
            handle = archive.extractfile(member) if member.name.endswith(".xml") else None
            if handle is not None:
                report = ET.fromstring(handle.read())
                parts = {part.get("Label"): part.text or "" for part in report.iter("AbstractText")}
                body = f"FINDINGS: {parts.get('FINDINGS', '')}\n\nIMPRESSION: {parts.get('IMPRESSION', '')}"
                texts[f"CXR{Path(member.name).stem}"] = body
    return texts


def test_labels_of_the_odd_reports_are_those_of_the_gold_standard(pack) -> None:
    texts = reports()
    gold = list(csv.DictReader((pack("openi-gold") / "openi_gld_std14.csv").open()))
    odd = [row for row in gold if int(row["filename"].removeprefix("CXR")) % 2]
    labels = [label for label in vocabulary("openi_gold").labels if label.name not in NOT_SCORED]
    hits, said, true = Counter[str](), Counter[str](), Counter[str]()
    for row in odd:
        read = label_report(texts[row["filename"]], "openi_gold")
        for label in labels:
            positive, found = row[label.name] == "1", read[label.key] == 1.0  # -1 and blank are 0 there
            hits[label.name] += positive and found
            said[label.name] += found
            true[label.name] += positive
    score = {name: 2 * hits[name] / (said[name] + true[name]) for name in true}
    assert len(odd) == 1532
    assert len(score) == 13
    assert 2 * hits.total() / (said.total() + true.total()) >= 0.91, score
    assert mean(score.values()) >= 0.86, score
    assert all(score[name] >= 0.70 for name in score if true[name] >= 10), score
