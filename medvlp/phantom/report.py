"""Reports of the synthetic hospital: radiology prose as a function of a study's facts.

A report is planned first (what is said of each finding, what is denied, what is said of normal anatomy) and then worded
by sentence forms (`medvlp.phantom.prose`). Half of the forms are held out: they are used for held-out patients only, so
that a model is never tested on sentences it has read. What a report says is true of the facts; a part of the mild
findings is hedged, and a part of what is absent is not mentioned, as in life.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvlp.core.randomness import numpy_generator
from medvlp.core.triplet import Side, Triplet
from medvlp.phantom.facts import Finding, Study
from medvlp.phantom.prose.change import DEVICES, change_of, resolved
from medvlp.phantom.prose.form import SentenceForm
from medvlp.phantom.prose.grammar import conditions_of, side_slots
from medvlp.phantom.prose.layout import LAYOUTS, lay_out, opening_sections
from medvlp.phantom.prose.words import FORMS, WORDINGS
from medvlp.phantom.prose.writer import Statement, Writer, state, state_plainly, system_of

_DENIAL_RATE = {
    "effusion": 0.8, "pneumothorax": 0.8, "consolidation": 0.75, "cardiomegaly": 0.65, "edema": 0.45, "nodule": 0.45,
    "atelectasis": 0.35, "rib_fracture": 0.4, "emphysema": 0.3, "pacemaker": 0.25, "central_line": 0.2,
    "endotracheal_tube": 0.2,
}  # fmt: skip
_LISTED = ("effusion", "pneumothorax", "consolidation", "edema", "nodule", "atelectasis")  # denied in one breath
_SIDED = ("effusion", "pneumothorax", "consolidation", "nodule", "rib_fracture")  # denied for the other side
_SMALL_NODULE = 12.0  # mm, about what overlapping vessels can feign
_JOINTS = (("effusion", "pneumothorax"), ("effusion", "atelectasis"), ("cardiomegaly", "edema"))
_ADVISED = {"nodule": 0.4, "consolidation": 0.2, "pneumothorax": 0.3}
_ANATOMY = (  # what is said to be normal, and the part of the chest with which it stands
    ("trachea", "mediastinum"), ("mediastinum", "mediastinum"), ("abdomen", "end"), ("soft_tissue", "end"),
    ("spine", "bones"), ("volumes", "lungs"), ("diaphragm", "pleura"), ("aorta", "mediastinum"),
)  # fmt: skip
_UNCERTAIN_RATE = 0.25  # of the mild findings
_MACRO_RATE = 0.12  # of the normal studies: the house's macro, word for word the same


@dataclass(frozen=True, slots=True)
class Report:
    """A report and its truth.

    Attributes:
        text: the whole report.
        sections: canonical lower-case name -> body, in the order of the text; ``{"": text}`` where it has no headers.
        triplets: every statement about a finding, in the order of the text; ``sentence`` stands in the text word for
            word (up to line breaks).
        forms: the sentence forms that were used.
    """

    text: str
    sections: dict[str, str]
    triplets: tuple[Triplet, ...]
    forms: tuple[SentenceForm, ...]


def write_report(study: Study, *, seed: int, held_out: bool, age: int | None = None) -> Report:
    """Write the report of a study.

    Args:
        study: the facts; views, age, sex and the prior study count, site and scanner do not.
        seed: of the cohort; the same seed and study give the same report.
        held_out: True uses the held-out half of the sentence forms and only these; False the other half.
        age: years at the study, where that is known to differ from the age at the patient's first one.

    Returns:
        Report in which every finding is asserted as present, or as uncertain where it is mild.

    Raises:
        DataError: if a finding has a side or lobe in which no sentence can place it.

    Example:
        >>> from medvlp.phantom.facts import Patient
        >>> patient = Patient("P1", "F", 61, 165.0, 24.0, "train")
        >>> effusion = Finding("effusion", "left", "", "moderate", 50.0, 0.3, 1)
        >>> study = Study("S1", patient, 0, "20200101", "A1", "north", "x", ("PA",), (effusion,), None)
        >>> report = write_report(study, seed=0, held_out=False)
        >>> {(t.side, t.presence) for t in report.triplets if t.observation == "effusion"}
        {('left', 'present')}
    """
    generator = numpy_generator(seed, 0, f"report/{study.id}")
    spelling = "british" if generator.random() < 0.3 else "american"
    writer = Writer(study, held_out, generator, spelling, conditions_of(study))
    if not study.findings and not resolved(study) and writer.chance(_MACRO_RATE):
        findings, impression = _macro(writer)
    else:
        findings, impression = _plan(writer)
    return _assemble(writer, study.patient.age if age is None else age, findings, impression)


def _plan(writer: Writer) -> tuple[list[Statement], list[Statement]]:
    """Return the statements of the findings section and of the impression."""
    study = writer.study
    unsure = [finding for finding in study.findings if _faint(finding) and writer.chance(_UNCERTAIN_RATE)]
    certain = [finding for finding in study.findings if not any(finding is each for each in unsure)]
    findings = _mention(writer, certain, unsure)
    impression = _conclude(writer, certain, unsure)
    for gone in resolved(study):
        topic = "device/resolved" if gone.name in DEVICES else "change/resolved"
        findings.append(state(writer, [gone], topic, "absent", graded=False))
        if writer.chance(0.4):
            impression.append(state(writer, [gone], topic, "absent", graded=False))
    impression += _advise(writer, certain)
    findings += _deny(writer) + _other_side(writer) + _normal_anatomy(writer)
    return _ordered(writer, findings), impression


def _faint(finding: Finding) -> bool:
    return finding.severity == "mild" or (finding.name == "nodule" and finding.size < _SMALL_NODULE)


def _mention(writer: Writer, certain: Sequence[Finding], unsure: Sequence[Finding]) -> list[Statement]:
    """Return one sentence for each finding, or for a pair that is read as one picture."""
    left = list(certain)
    statements: list[Statement] = []
    for first, second in _JOINTS:
        for one in [finding for finding in left if finding.name == first]:
            partner = next(
                (other for other in left if other.name == second and _joined(one, other) and one in left), None
            )
            if partner is not None and not _changed(writer, one, partner) and writer.chance(0.6):
                statements.append(state(writer, [one, partner], f"joint/{first}+{second}"))
                left = [finding for finding in left if finding is not one and finding is not partner]
    statements += [_present(writer, finding) for finding in left]
    statements += [_uncertain(writer, finding) for finding in unsure]
    return statements


def _joined(one: Finding, other: Finding) -> bool:
    return one.name == "cardiomegaly" or (one.side == other.side and other.lobe in ("", "lower"))


def _changed(writer: Writer, *findings: Finding) -> bool:
    return any(change_of(finding, writer.study.prior) for finding in findings)


def _present(writer: Writer, finding: Finding, *, brief: bool = False) -> Statement:
    """Say that a finding is there; with a prior, mostly how it has changed."""
    change = change_of(finding, writer.study.prior)
    if change and writer.chance(0.75):
        return state(writer, [finding], f"{'device' if finding.name in DEVICES else 'change'}/{change}")
    brief = brief and finding.name not in DEVICES
    return state(writer, [finding], "impression/finding" if brief else f"{finding.name}/present")


def _uncertain(writer: Writer, finding: Finding) -> Statement:
    topic = f"{finding.name}/uncertain" if writer.chance(0.4) else "uncertain"
    return state(writer, [finding], topic, "uncertain")


def _conclude(writer: Writer, certain: Sequence[Finding], unsure: Sequence[Finding]) -> list[Statement]:
    """Return the impression: what matters first, or that there is nothing."""
    acute = [finding for finding in certain if finding.name not in DEVICES]
    devices = [finding for finding in certain if finding.name in DEVICES and writer.chance(0.3)]
    grades = {"severe": 0, "moderate": 1, "": 1, "mild": 2}
    acute.sort(key=lambda finding: grades[finding.severity])
    statements = [_present(writer, finding, brief=writer.chance(0.6)) for finding in acute + devices]
    statements += [_uncertain(writer, finding) for finding in unsure]
    if not acute and not unsure:
        statements = state_plainly(writer, "impression/normal", "end") + statements
    return statements


def _advise(writer: Writer, certain: Sequence[Finding]) -> list[Statement]:
    names = sorted({finding.name for finding in certain} & _ADVISED.keys())
    advised = (name for name in names if writer.chance(_ADVISED[name]))
    return [statement for name in advised for statement in state_plainly(writer, f"advice/{name}", "end")]


def _deny(writer: Writer) -> list[Statement]:
    """Return sentences on a part of what is absent, alone or two and three in one breath."""
    names = {finding.name for finding in writer.study.findings}
    gone = {finding.name for finding in writer.study.prior or ()}
    denied = [name for name, rate in _DENIAL_RATE.items() if name not in names | gone and writer.chance(rate)]
    listed = writer.shuffled([name for name in denied if name in _LISTED])
    single = [name for name in denied if name not in _LISTED]
    statements: list[Statement] = []
    while listed:  # "no effusion or pneumothorax", as it is dictated
        count = min(len(listed), int(writer.pick((1, 2, 2, 3))))
        group, listed = listed[:count], listed[count:]
        if count == 1:
            single += group
        else:
            statements.append(_deny_together(writer, group))
    for name in single:
        statements += state_plainly(writer, f"{name}/absent", system_of(name), [(WORDINGS[name].anatomy, name)])
    return statements


def _deny_together(writer: Writer, names: Sequence[str]) -> Statement:
    topic = "absent/three" if len(names) == 3 else "absent/two"
    slots = {
        place: writer.pick(WORDINGS[name].denied)
        for place, name in zip(("first", "second", "third"), names, strict=False)
    }
    return _denial(writer.word(writer.pick(writer.allowed(topic, slots, writer.conditions)), slots), names)


def _other_side(writer: Writer) -> list[Statement]:
    """Return, now and then, that the other side is free of what one side has."""
    statements: list[Statement] = []
    opposite: dict[str, Side] = {"left": "right", "right": "left"}
    present = {(finding.name, finding.side) for finding in writer.study.findings}
    gone = {finding.name for finding in writer.study.prior or ()}
    for name, side in sorted(present):
        other = opposite.get(side)
        both = {(name, "bilateral"), (name, other)} & present
        if name not in _SIDED or name in gone or other is None or both or not writer.chance(0.2):
            continue
        slots = {"a": "a ", "denied": writer.pick(WORDINGS[name].denied), **side_slots(other, writer.pick)}
        form = writer.pick(writer.allowed("absent/side", slots, writer.conditions))
        statements.append(_denial(writer.word(form, slots), [name], other))
    return statements


def _normal_anatomy(writer: Writer) -> list[Statement]:
    topics = writer.shuffled(_ANATOMY)[: int(writer.pick((0, 1, 1, 2, 2, 3)))]
    return [stated for topic, system in topics for stated in state_plainly(writer, f"normal/{topic}", system)]


def _ordered(writer: Writer, statements: Sequence[Statement]) -> list[Statement]:
    """Return the statements system by system, as a reader goes through a film: each has their own order."""
    middle = writer.shuffled(("lungs", "pleura", "heart", "mediastinum"))
    order = ["devices", *middle] if writer.chance(0.6) else [*middle, "devices"]
    order += ["bones", "end"]
    return sorted(statements, key=lambda statement: order.index(statement.system))


def _macro(writer: Writer) -> tuple[list[Statement], list[Statement]]:
    """Return the macro of a normal study: the first form of each topic, always the same words."""

    def first(topic: str) -> str:
        form = next(form for form in FORMS[topic, writer.held_out] if form.when in ((), ("clear",)))
        return writer.word(form, {"first": "pleural effusion", "second": "pneumothorax"})

    writer.spelling = "american"
    findings = [
        _denial(first(topic), names)
        for topic, names in (
            ("cardiomegaly/absent", ("cardiomegaly",)),
            ("consolidation/absent", ("consolidation",)),
            ("absent/two", ("effusion", "pneumothorax")),
        )
    ]
    return findings, [Statement(first("impression/normal"), (), "end")]


def _denial(sentence: str, names: Sequence[str], side: Side = "") -> Statement:
    triplets = tuple(Triplet(WORDINGS[name].anatomy, side, name, "absent", "", sentence) for name in names)
    return Statement(sentence, triplets, system_of(names[0]))


def _assemble(writer: Writer, age: int, findings: Sequence[Statement], impression: Sequence[Statement]) -> Report:
    """Lay the statements out under a header convention, or under none."""
    shape = float(writer.generator.random())
    if shape < 0.06:  # one paragraph, without headers
        spoken = [*findings, *(impression if writer.chance(0.5) else ())]
        text = _prose(spoken)
        return Report(text, {"": text}, _triplets(spoken), tuple(writer.used))
    sections = {
        name: body
        for name, body in opening_sections(writer.study, age, writer.pick).items()
        if writer.chance({"exam": 0.6, "indication": 0.9, "technique": 0.5, "comparison": 0.8}[name])
    }
    spoken = list(findings)
    if shape < 0.12:  # impression only: it says everything
        sections["impression"] = _listed(writer, spoken)
    else:
        sections["findings"] = _prose(findings)
        if shape < 0.9:
            spoken += impression
            sections["impression"] = _listed(writer, impression)
    text = lay_out(sections, writer.pick(LAYOUTS), writer.pick)
    return Report(text, sections, _triplets(spoken), tuple(writer.used))


def _prose(statements: Sequence[Statement]) -> str:
    return " ".join(statement.sentence for statement in statements)


def _listed(writer: Writer, statements: Sequence[Statement]) -> str:
    """Return the statements numbered, one a line, or as prose."""
    style = float(writer.generator.random())
    if len(statements) < 2 or style < 0.4:
        return _prose(statements)
    return "\n".join(
        f"{f'{number}.' if style < 0.9 else '-'} {statement.sentence}" for number, statement in enumerate(statements, 1)
    )


def _triplets(statements: Sequence[Statement]) -> tuple[Triplet, ...]:
    return tuple(triplet for statement in statements for triplet in statement.triplets)
