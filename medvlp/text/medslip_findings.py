"""Findings of medvlp -> words of a model that learned a fixed list of observations."""

from __future__ import annotations

from collections.abc import Sequence

from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.text.ontology import findings as ontology

# Words of the MeDSLIP vocabulary that mean what a finding of another name means.
_SAME = {
    "normal": "no_finding", "opacity": "lung_opacity", "device": "support_devices", "hyperinflate": "hyperinflation",
    "infiltrate": "infiltration",
}  # fmt: skip


def finding_columns(names: Sequence[str]) -> dict[str, int]:
    """Return each finding that the words have a place for: finding -> index of the word.

    A word that is a finding's own key is its place. In the words of MeDSLIP each finding has the column that reports
    are read into, several findings sharing one: infiltration is ``infiltrate``, fibrosis ``tail_abnorm_obs``.
    """
    place = {name: index for index, name in enumerate(names)}
    words = load_medslip_vocabulary()
    shared = words.findings if set(names) == set(words.observations) else {}
    called = {finding: shared.get(finding, finding) for finding in ontology()}
    return {finding: place[name] for finding, name in called.items() if name in place}


def score_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return what each word's score is called: the finding's key where it means just that, else the word."""
    return tuple(name if _SAME.get(name, name) in names else _SAME.get(name, name) for name in names)


def abnormal_words(names: Sequence[str]) -> tuple[int, ...]:
    """Return the words that name something abnormal by themselves: not the healthy ones, not the collective ones."""
    words = load_medslip_vocabulary()
    none = {*words.normal, "no_finding", "tail_abnorm_obs", "excluded_obs"}
    return tuple(index for index, name in enumerate(names) if name not in none)
