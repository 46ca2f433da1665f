"""The data card says what the code draws: every number of its tables is compared with the tables in code."""

from __future__ import annotations

from pathlib import Path

import yaml

from medvlp.phantom.devices import SCANNERS
from medvlp.phantom.facts import FINDINGS
from medvlp.phantom.priors import PRIORS
from medvlp.phantom.rules import RULES

CARD = (Path(__file__).parents[2] / "data_cards" / "phantom.md").read_text("utf-8")


def prior_rows() -> list[str]:
    rows = []
    for name, prior in PRIORS.items():
        causes = ", ".join(f"{cause} {weight:+g}" for cause, weight in prior.causes.items())
        fates = f"{prior.persistence:g} | {prior.worse:g} | {prior.better:g}"
        rows.append(f"| {name} | {prior.target:.2f} | {causes} | {fates} |")
    return rows


def rule_rows() -> list[str]:
    rows = []
    for rule in RULES.values():
        sides = ", ".join(f"{side or 'none'} {share:g}" for side, share in rule.sides)
        size = f"{rule.low:g}, {rule.median:g}, {rule.high:g}" if rule.high else ""
        spread = f"{rule.spread:g}" if rule.high else ""
        cuts = ", ".join(f"{cut:g}" for cut in rule.cuts)
        amount = f"{rule.amount[0]:g} to {rule.amount[1]:g}"
        rows.append(
            f"| {rule.name} | {sides} | {rule.size or 'none'} | {size} | {spread} | {amount} | {cuts} | {rule.source} |"
        )
    return rows


def scanner_rows() -> list[str]:
    rows = []
    for scanner in SCANNERS:
        made = scanner.convention
        extras = [f"rescale {made.rescale[0]:g}, {made.rescale[1]:g}"] if made.rescale else []
        extras += [f"padding {made.padding}"] if made.padding else []
        used = "bedside" if scanner.mobile else "standing"
        rows.append(
            f"| {scanner.site} | {scanner.name} | {used} | {made.sop} | {made.bits} "
            f"| {made.photometric} | {', '.join([made.voi, *extras])} | {made.syntax} |"
        )
    return rows


def test_every_table_row_is_what_the_code_has() -> None:
    for row in prior_rows() + rule_rows() + scanner_rows():
        assert row in CARD.splitlines()


def test_front_matter_names_labels_and_splits() -> None:
    front = yaml.safe_load(CARD.split("---")[1])
    assert front["labels"] == list(FINDINGS)
    assert front["synthetic"] is True
    options = front["splits"]["official"]["options"]
    assert {name: round(share * 17) for name, share in options["fractions"].items()} == {
        "train": 14,
        "validate": 1,
        "test": 2,
    }


def test_the_card_says_what_not_to_conclude() -> None:
    assert "Nothing about clinical performance" in CARD
