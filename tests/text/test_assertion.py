"""What radiology sentences assert of a finding: 515 statements in ten classes of traps, written before the rules.

`assertion_sentences.csv` has one row a sentence and finding. What its authors decided, where readers may differ:

* What is resolved, removed, gone or cleared is absent now; what is healed but to be seen (old fractures, calcified
  granulomas) is present.
* "History of", "status post", "prior", "treated for", and what an earlier film showed, is historical, unless the
  sentence says that it is still there ("residual", "persistent", "now").
* "No change in", "stable", "no improvement of", "has not cleared", "decreased" and "improving" say that it is present.
  "No new X" is absent.
* "No X without Y" and the like deny only what stands in their scope; "but", "although", "however", "while", "and there
  is", a semicolon, and "except for" or "other than" end it. "X without Y" states X and denies Y.
* A denied quality denies no finding: "not calcified", "without displacement", "no sign of tension", "not large".
* "Possible", "probable", "likely", "may", "could", "suspicious", "concerning for", "suggests", "versus", "query" are
  uncertain; "consistent with" and "in keeping with" state. "Less likely" and "unlikely" are left out: readers disagree.
* "Cannot exclude", "not excluded", "does not rule out", "difficult to exclude" are uncertain; "not without", "not free
  of", "no doubt" are present.
* What is looked for, feared or would call for action is conditional: "if", "should", "in case of", "evaluate for",
  "rule out" as a request, "to exclude" as a purpose. Nothing is claimed of the film.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from medvlp.text.ontology import findings

ROWS = list(csv.DictReader((Path(__file__).parent / "assertion_sentences.csv").open(encoding="utf-8", newline="")))
TRAPS = {
    "plain",
    "negation",
    "negation_scope",
    "pseudo_negation",
    "uncertainty",
    "history",
    "double_negation",
    "conditional",
    "post_negation",
    "comparison",
}


def test_every_trap_has_40_statements_and_no_statement_stands_twice() -> None:
    counts = Counter(row["trap"] for row in ROWS)
    assert set(counts) == TRAPS
    assert min(counts.values()) >= 40
    assert len({(row["sentence"].lower(), row["finding"]) for row in ROWS}) == len(ROWS) >= 440


def test_statements_are_about_findings_of_the_ontology_and_use_its_five_words() -> None:
    assert {row["finding"] for row in ROWS} <= set(findings())
    assert {row["presence"] for row in ROWS} == {"present", "absent", "uncertain", "historical", "conditional"}
