"""A model card with the numbers of an evaluation, for a model hub."""

from __future__ import annotations

from collections.abc import Iterator

from medvlp.evaluation.results import AVERAGES, Metric, Result
from medvlp.evaluation.rows import FITTED_SPLITS, headline_of, metric_rows
from medvlp.evaluation.tables import in_a_row
from medvlp.evaluation.words import REASONS, finding, integer, interval, name_of, number
from medvlp.models.card import RESEARCH, SYNTHETIC, CardResult, ModelCard, fact_list
from medvlp.pages.evaluated import evaluation_facts
from medvlp.pages.facts import IN_FULL, facts_of
from medvlp.pages.facts_data import card_facts
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.summary import summary_of

_FACTS = ("technology", "model", "preprocessing", "training", "selection")
_IDS = {"auroc": "roc_auc", "average_precision": "average_precision"}


def hub_card(inputs: ReportInputs) -> str:
    """Return the card in Markdown with front matter; what is not known is left out.

    Args:
        inputs: of the page.
    """
    facts, best = facts_of(inputs), headline_of(inputs.results)
    flags = [flag.sentence for result in inputs.results for flag in result.flags]
    limits = [facts.get("limitations", ""), *(f"Flagged: {sentence}" for sentence in flags)]
    record = inputs.record
    learnt = record is not None and record.model.provenance.get("synthetic") is True
    return ModelCard(
        name=inputs.study.get("name", inputs.title if record is None else record.model.name),
        licence=inputs.study.get("licence", ""),
        synthetic=inputs.synthetic or learnt,
        prompted=record is not None and record.model.prompted,
        results=[] if best is None else list(_results(inputs, best)),
        sections=[
            ("In short", summary_of(inputs.results)),
            ("Use", f"{SYNTHETIC}\n\n" * learnt + facts.get("intended_use", RESEARCH)),
            ("What it is", " ".join(facts[name].removesuffix(IN_FULL) for name in _FACTS if name in facts)),
            ("What was judged", "\n".join(f"- {what}: {words}" for what, words in evaluation_facts(inputs, facts))),
            ("Results", "" if best is None else _table(best)),
            ("Limits", "\n\n".join(words for words in limits if words)),
            (
                "Who made it",
                " ".join(inputs.study[name] for name in ("authors", "contact", "funding") if name in inputs.study),
            ),
            ("Where it comes from", fact_list(_provenance(inputs))),
        ],
    ).text()


def _results(inputs: ReportInputs, best: Result) -> Iterator[CardResult]:
    card, record = card_facts(inputs.record), inputs.record
    dataset = "local" if record is None else record.data.card or record.data.layout or "local"
    title = "the user's own data" if card is None else card.title
    for row, precision in _test_rows(best):
        for each in (row, precision):
            if each is not None and each.value is not None and each.metric in _IDS:
                yield CardResult(
                    metric=_IDS[each.metric],
                    name=f"{name_of(each.metric)} {_label(each)}" + (f" ({interval(each)})" if interval(each) else ""),
                    value=each.value,
                    dataset=dataset,
                    dataset_name=title,
                    split=each.split,
                )


def _table(best: Result) -> str:
    rows = ["| Finding | n | Positive | AUROC | AP |", "| --- | ---: | ---: | ---: | ---: |"]
    several = len({row.split for row, _ in _test_rows(best)}) > 1
    for row, precision in _test_rows(best):
        name = f"{_label(row)}, {row.split}" if several else _label(row)
        cells = [in_a_row(name), integer(row.counts.n), integer(row.counts.positives), _cell(row), _cell(precision)]
        rows.append(f"| {' | '.join(cells)} |")
    level = f"{100 * best.metrics[0].interval.level:g} %"
    return f"{name_of(best.name, best.title)}. In brackets: {level} intervals over patients.\n\n" + "\n".join(rows)


def _test_rows(best: Result) -> list[tuple[Metric, Metric | None]]:
    """Return the rows of cases that nothing was chosen on."""
    return [(row, precision) for row, precision in metric_rows(best) if row.split not in FITTED_SPLITS]


def _label(row: Metric) -> str:
    return f"{row.label} average over {row.counts.labels_used}" if row.label in AVERAGES else finding(row.label)


def _cell(row: Metric | None) -> str:
    if row is None or row.value is None:
        return "–" if row is None else REASONS.get(row.reason or "", "–")
    return f"{number(row.value)} ({interval(row)})" if interval(row) else number(row.value)


def _provenance(inputs: ReportInputs) -> dict[str, object]:
    found: dict[str, object] = {}
    record = inputs.record
    if record is not None:
        found |= dict(record.model.provenance)
        found |= {"bundle_manifest_sha256": record.model.manifest, "judged_data": record.data.manifest}
        found |= {"judged_split": record.data.judged, "seed_of_intervals": record.seed}
        found["medvlp"] = record.environment.get("medvlp", "")
    for result in inputs.results:
        if result.recipe:
            found[f"recipe of {name_of(result.name, result.title)}"] = result.recipe
    return {name: value for name, value in found.items() if value not in ("", None)}
