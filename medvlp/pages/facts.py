"""Facts that answer reporting checklists, each a sentence or two made of what the run itself knows.

A fact that the run does not know is left out, never guessed: the checklist then says "not reported". What the study's
authors tell (`medvlp.pages.checklist`) comes last and wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from medvlp.evaluation.rank_metrics import ALIKE
from medvlp.evaluation.results import Metric, Result
from medvlp.evaluation.rows import findings_of, headline_of, macro_of
from medvlp.evaluation.words import finding, integer, map_words, name_of, rule_words, spoken
from medvlp.pages.facts_data import cohort_facts, data_facts
from medvlp.pages.inputs import ReportInputs
from medvlp.pages.summary import summary_of

RESEARCH = "Research only: not a medical device, not for clinical use."
# Where the page shows what a fact says.
SECTIONS = {
    "abstract": "top",
    "demographics": "cohort",
    "comparison": "cohort",
    "flow": "cohort",
    "estimates": "tables",
    "events": "tables",
    "performance": "findings",
    "clusters": "subgroups",
    "fairness": "subgroups",
    "robustness": "robustness",
    "failures": "errors",
    "explanation": "pictures",
    "limitations": "top",
    "output": "points",
    "updating": "calibration",
    "software": "run",
    "protocol": "run",
    "specification": "run",
    "training": "run",
}
_PLUMBING = ("name", "field", "to", "bits")  # of a step of preprocessing: how it is connected, not what it does
_SITES, _PEOPLE = ("site", "source", "scanner", "hospital"), ("sex", "age", "age_band", "race", "ethnicity")
_FORMS = {"percentile": "percentile", "bca": "BCa", "logit": "logit", "recentred": "recentred percentile"}
IN_FULL = " In full under What was run."
_AFTER = {
    "wilson": "Wilson (shares)",
    "wilson_clustered": "Wilson (shares)",
    "mercaldo": "Mercaldo (predictive values)",
    "delong_clustered": "DeLong (differences of AUROC)",
    "exact": "Clopper and Pearson (an AUROC of 0 or 1)",
}


def facts_of(inputs: ReportInputs) -> dict[str, str]:
    """Return name of a fact -> its words, of all that is known.

    Example:
        >>> facts_of(ReportInputs(title="A", results=(), study={"funding": "None."}))
        {'funding': 'None.'}
    """
    known = dict(_statistics(inputs.results))
    known |= dict(_model(inputs)) | dict(_training(inputs)) | dict(data_facts(inputs)) | dict(cohort_facts(inputs))
    if inputs.results:
        known["abstract"] = "Head of this page."
        known["goal"] = _goal(inputs)
        known |= dict(_image_facts(inputs))
        limits = [*inputs.caveats, *_few(inputs.results)]
        if inputs.synthetic:
            limits.insert(0, "Synthetic cases: nothing follows for patients.")
        if limits:
            known["limitations"] = " ".join(limits)
    known |= {name: words for name, words in inputs.study.items() if words}
    return {name: words for name, words in known.items() if words}


def towers(architecture: Mapping[str, Any]) -> str:
    """Return what a model is made of: ``"resnet10t and transformer"``."""
    parts = [architecture.get(part) for part in ("vision", "image", "stack", "text")]
    names = [str(part.get("architecture") or part.get("name")) for part in parts if isinstance(part, Mapping)]
    return " and ".join(names) or str(architecture.get("name", ""))


def kind_of(architecture: Mapping[str, Any]) -> str:
    """Return what kind of model it is; one that reads no text is none of vision and language.

    Example:
        >>> kind_of({"name": "dual", "vision": {}, "text": {}}), kind_of({"name": "vision", "vision": {}})
        ('vision-language model', 'image model')
    """
    return "image model" if architecture.get("name") == "vision" else "vision-language model"


def _image_facts(inputs: ReportInputs) -> Iterator[tuple[str, str]]:
    if inputs.errors:
        yield "failures", "Pictures of misses, false alarms and undecided cases, by a rule and not by hand."
    measured = any(row.metric == "pointing_game" for result in inputs.results for row in result.metrics)
    if measured:
        yield "explanation", "Heat maps, measured against boxes and beside maps that know nothing."
    elif any(item.heat_map is not None for item in inputs.gallery):
        yield "explanation", "Heat maps beside pictures; they were not measured."


def _goal(inputs: ReportInputs) -> str:
    if inputs.record is None and not inputs.config:
        return "Evaluation of given predictions."
    return "Development and evaluation of a model." if "phases" in inputs.config else "Evaluation of a trained model."


def _statistics(results: Sequence[Result]) -> Iterator[tuple[str, str]]:
    rows = [row for result in results for row in result.metrics]
    if not rows:
        return
    named = [row.metric.partition("@")[0] for row in rows]
    measured = dict.fromkeys(name for name in named if not name.startswith(("oracle_", "worst_", "shortcut_auroc_")))
    measured = [name for name in measured if not name.endswith(("_test", ALIKE))]
    yield "measures", f"{spoken([name_of(name) for name in measured])}."
    yield "uncertainty", _uncertainty(rows)
    best = headline_of(results)
    if best is not None:
        asked = sorted(findings_of(best))
        yield "performance", summary_of(results)
        yield "estimates", f"{integer(len(asked))} findings, each with n, AUROC, AP and their intervals."
        yield "events", "Positive of all cases with a known label, for each finding."
        yield "outcome", f"Presence of {spoken([finding(label) for label in asked])}."
    groups = dict.fromkeys(str(row.group).partition("=")[0] for row in rows if row.group and "=" in str(row.group))
    sites, people = [g for g in groups if g in _SITES], [g for g in groups if g in _PEOPLE]
    if sites:
        yield "clusters", f"Performance by {spoken([finding(g) for g in sites])}, with intervals."
    if people:
        yield "fairness", f"Performance by {spoken([finding(g) for g in people])} was measured; nothing was corrected."
    # A threshold that was tuned on the test cases is no threshold of the model.
    own = rows if best is None else best.metrics
    honest = [row for row in own if not row.metric.startswith("oracle_")]
    points = dict.fromkeys(row.operating_point for row in honest if row.operating_point)
    if points:
        rules = spoken([rule_words(point) for point in points])
        yield "output", f"Scores; thresholds chosen on validation patients: {rules}."
    elif best is not None:
        yield "output", "Scores, higher where the finding is more likely; no threshold was chosen."
    maps = [name for name in dict.fromkeys(row.calibration for row in rows) if name and name != "none"]
    if maps:
        yield "updating", f"Recalibrated on validation patients: {spoken([map_words(name) for name in maps])}."
    varied = _varied(results)
    if varied:
        yield "robustness", f"{varied}."
    if any(result.cases is not None for result in results):
        yield "data_sharing", "Scores and labels of every case are kept beside the results; the images are not."


def _uncertainty(rows: Iterable[Metric]) -> str:
    rows = [row for row in rows if row.interval.low is not None]
    if not rows:
        return ""
    level = f"{100 * rows[0].interval.level:g} %"
    boot = [row for row in rows if row.interval.method == "patient_bootstrap"]
    words = []
    if boot:
        forms = spoken(list(dict.fromkeys(_FORMS.get(row.interval.form, row.interval.form) for row in boot)))
        most = max((row.interval.resamples or 0) + (row.interval.skipped or 0) for row in boot)
        count = f", {integer(most)} resamples" if most else ""
        words.append(f"{level} intervals; patients, not images, are resampled ({forms}{count}).")
    else:
        words.append(f"{level} intervals.")
    if after := spoken(sorted({_AFTER[row.interval.method] for row in rows if row.interval.method in _AFTER})):
        words.append(f"{'Some' if boot else 'They'} are after {after}.")
    if any(row.test.p_corrected is not None for row in rows):
        words.append("p values are corrected after Holm.")
    return " ".join(words)


def _few(results: Iterable[Result]) -> list[str]:
    rows = [row for result in results for row in result.metrics if not row.group]
    parts = {
        "too_few_positives": "Fewer than 5 positive patients, so that there is no interval",
        "few_positives": "30 positive patients or fewer, so that the interval is optimistic",
        "too_few_negatives": "Fewer than 5 negative patients, so that there is no interval",
        "few_negatives": "30 negative patients or fewer, so that the interval is optimistic",
    }
    found = {reason: sorted({finding(row.label) for row in rows if row.reason == reason}) for reason in parts}
    return [f"{words}: {spoken(found[reason])}." for reason, words in parts.items() if found[reason]]


def _model(inputs: ReportInputs) -> Iterator[tuple[str, str]]:
    record = inputs.record
    tree = record.model.architecture if record is not None else inputs.config.get("model")
    if isinstance(tree, Mapping) and towers(tree):
        kind = kind_of(tree)
        yield "technology", f"Deep learning: {'an' if kind[0] in 'aeiou' else 'a'} {kind} of {towers(tree)}."
        width = tree.get("embed_dim")
        size = "" if record is None or not record.model.parameters else f"{integer(record.model.parameters)} parameters"
        parts = [f"Towers {towers(tree)}", f"embeddings of {width} numbers" if width else "", size]
        yield "model", "; ".join(part for part in parts if part) + f".{IN_FULL}"
        yield "intended_use", RESEARCH
    if record is not None:
        steps = [_step(step) for step in record.model.preprocessing]
        yield "preprocessing", f"In order: {'; '.join(steps)}." if steps else ""
        yield "predictors", "The images alone, after the preprocessing."
        yield "ensembling", "None: one model was judged."
        sealed = f" (SHA-256 of its manifest {record.model.manifest[:16]}…)" if record.model.manifest else ""
        yield "specification", f"Bundle {record.model.name}{sealed}: weights, preprocessing, prompts and tokenizer."
        yield "calculation", f"By medvlp from the bundle {record.model.name}, by the recipes named below."
        yield "input_quality", "A file that cannot be read is refused with its reason and left out of the numbers."
    versions = dict(record.environment) if record is not None else dict(inputs.environment)
    if versions:
        packages = versions.get("packages")
        packages = packages if isinstance(packages, Mapping) else {}
        listed = [f"{name} {version}" for name, version in packages.items()]
        yield "software", f"medvlp {versions.get('medvlp')}, Python {versions.get('python')}, {', '.join(listed)}."
        code = f"medvlp {versions.get('medvlp')} (Apache-2.0), hash of its code {versions.get('code')}."
        yield "code_sharing", code
        yield "availability", f"Software: {code}"


def _step(step: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in step.items() if key not in _PLUMBING and isinstance(value, str | int | float)}
    parts = ", ".join(f"{key} {value}" for key, value in plain.items() if not isinstance(value, bool))
    return f"{step.get('name', '')} ({parts})" if parts else str(step.get("name", ""))


def _training(inputs: ReportInputs) -> Iterator[tuple[str, str]]:
    """What a training run's own configuration says; nothing for a bundle that was trained elsewhere."""
    tree: Mapping[str, Any] = inputs.config
    if "phases" not in tree:
        return
    names = dict.fromkeys(str(each["name"]) for phase in tree["phases"] for each in phase["objectives"])
    optimiser, training = tree.get("optimiser") or {}, tree.get("training") or {}
    parts = [
        f"Objectives {spoken(list(names))}",
        f"{optimiser['name']} at rate {optimiser['rate']:g}" if {"name", "rate"} <= set(optimiser) else "",
        f"batches of {training['batch']}" if "batch" in training else "",
        f"{integer(int(tree['phases'][-1]['until']))} samples seen" if "until" in tree["phases"][-1] else "",
    ]
    yield "training", "; ".join(part for part in parts if part) + f".{IN_FULL}"
    chosen = (tree.get("evaluation") or {}).get("choose")
    yield "selection", f"The checkpoint with the best {chosen} on the validation split." if chosen else ""
    started = tree.get("init_from")
    seed = f", seed {tree['seed']}" if "seed" in tree else ""
    pretrained = bool((tree["model"].get("vision") or {}).get("pretrained"))
    at_random = f"Drawn at random{seed}." if not pretrained else "The image tower from weights trained before."
    yield "initialisation", "From another bundle." if started else at_random
    yield "protocol", "The full configuration, defaults included, stands on this page."


def _varied(results: Sequence[Result]) -> str:
    """Return what was varied to see whether the numbers hold."""
    done = []
    changed = dict.fromkeys(
        str(row.group).partition("=")[0]
        for result in results
        if result.name == "robustness"
        for row in result.metrics
        if row.group
    )
    if changed:
        done.append(f"AUROC with one factor changed ({', '.join(map(finding, changed))})")
    made = {row.metric for result in results for row in result.metrics}
    if "attack_success" in made:
        done.append("pictures and words moved to be misread")
    if "auroc_range" in made:
        done.append("AUROC of every single prompt")
    if any(macro_of(result) for result in results if result.role == "control"):
        done.append("controls that see almost nothing")
    words = spoken(done)
    return words[:1].upper() + words[1:]
