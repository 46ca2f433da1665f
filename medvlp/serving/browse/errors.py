"""Cases of a finding by how wrong their scores are, with their pictures."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medvlp.evaluation.predictions import check_policy, checked_findings, known_rows
from medvlp.evaluation.results import Result
from medvlp.evaluation.words import finding as words
from medvlp.serving.browse.thumbnails import Album
from medvlp.statistics.metrics import FloatArray

KINDS = {"all": (0.0, 1.0), "missed": (1.0,), "false alarms": (0.0,)}


def wrongness(labels: NDArray[np.floating], scores: FloatArray) -> FloatArray:
    """Return (N,): the share of cases of the other class on the wrong side of its score, equal ones half; NaN of none.

    The mean over either class is 1 - AUROC: what a case costs it.

    Args:
        labels: (N,) 1 present, 0 absent.
        scores: (N,).

    Example:
        >>> wrongness(np.array([1.0, 1, 0, 0]), np.array([0.9, 0.1, 0.2, 0.1])).tolist()
        [0.0, 0.75, 0.5, 0.25]
    """
    found = np.zeros(len(scores))
    for own, other in ((1, 0), (0, 1)):
        rivals, mine = np.sort(scores[labels == other]), scores[labels == own]
        below, upto = (np.searchsorted(rivals, mine, side=side) for side in ("left", "right"))
        beaten = (below + upto) / 2 / (len(rivals) or np.nan)  # share of rivals below
        found[labels == own] = 1 - beaten if own == 1 else beaten
    return found


def findings_of(result: Result) -> list[str]:
    """Return the findings that a result has scores and truth of, case by case."""
    if result.cases is None or not any(str(column).startswith("score:") for column in result.cases):
        return []
    return checked_findings(result.cases)


def error_table(result: Result, finding: str, *, kind: str = "all") -> pd.DataFrame:
    """Return the cases of a finding, the most wrong first: id, truth, whether it is uncertain, score, wrong, groups.

    Args:
        result: with its cases.
        finding: one of `findings_of`.
        kind: see `KINDS`.
    """
    cases = result.cases
    assert cases is not None  # findings_of has none without
    if "split" in cases and (cases["split"] == "test").any():
        cases = cases[cases["split"] == "test"]
    cases = cases.reset_index(drop=True)
    known = known_rows(cases, finding, policy=check_policy(str(result.options.get("policy", "u_ignore"))))
    groups = [name for name in map(str, cases.columns) if name.startswith("group:") and "@" not in name]
    truth, scores = known.positive[known.known].astype(float), known.scores[known.known]
    uncertain = cases.loc[known.known, f"label:{finding}"].astype(float) == -1
    found = {"truth": truth, "uncertain": uncertain, "score": scores, "wrong": wrongness(truth, scores)}
    table = cases.loc[known.known, ["id", *groups]].assign(**found)
    table = table[table["truth"].isin(KINDS[kind])].sort_values("wrong", ascending=False, kind="stable")
    return table[["id", "truth", "uncertain", "score", "wrong", *groups]].reset_index(drop=True)


def cards(shown: pd.DataFrame, album: Album, finding: str) -> str:
    """Return HTML of some cases: picture, truth, score, how wrong, groups and allow-listed facts of the file."""
    parts = []
    for row in shown.to_dict("records"):
        counted = "uncertain, counted as " if row["uncertain"] else ""
        truth = f"{words(finding)} {counted}{'present' if row['truth'] == 1 else 'absent'}"
        groups = [str(value) for name, value in row.items() if str(name).startswith("group:") and value == value]
        side = ("below", "without") if row["truth"] == 1 else ("above", "with")
        beside = f"there are none {side[1]} it"
        if row["wrong"] == row["wrong"]:
            beside = f"{side[0]} {row['wrong']:.0%} of those {side[1]} it"
        parts.append(
            f'<figure class="case">{album.html(str(row["id"]))}<figcaption><b>{escape(truth)}</b>, score '
            f"{row['score']:.3f}<br>{beside}<br>"
            f'<span class="fine">{escape(", ".join([str(row["id"]), *groups]))}</span></figcaption></figure>'
        )
    return f'<div class="cases">{"".join(parts)}</div>' if parts else "<p>There is no such case.</p>"
