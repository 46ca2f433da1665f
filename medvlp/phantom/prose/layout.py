"""How a report looks: header conventions, and the sections that are not about the picture."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from medvlp.phantom._files import read_facts
from medvlp.phantom.facts import Study
from medvlp.phantom.prose.grammar import Pick


@dataclass(frozen=True, slots=True)
class Layout:
    """A header convention.

    Attributes:
        name: what it is called here.
        header: the header with ``{title}`` and ``{number}``, up to where the body starts.
        between: what stands between two sections.
        upper: whether titles are in capitals.
        before: what stands before the first section.
        wrap: columns at which lines are broken, 0 for none.
    """

    name: str
    header: str
    between: str
    upper: bool = True
    before: str = ""
    wrap: int = 0


_DATA = read_facts("prose/layouts")
_TITLES: dict[str, tuple[str, ...]] = _DATA["titles"]
LAYOUTS: tuple[Layout, ...] = tuple(Layout(name, **facts) for name, facts in _DATA["layouts"].items())
_SCAN = (_DATA["ct"]["exams"], _DATA["ct"]["techniques"], "CT")  # a study without views is a CT


def opening_sections(study: Study, age: int, pick: Pick) -> dict[str, str]:
    """Return exam, indication, technique and comparison; they tell of the visit, never of what is seen."""
    person = pick(("woman", "female")) if study.patient.sex == "F" else pick(("man", "male"))
    whom = f"{age}-year-old {person}"
    symptom, reason = pick(_DATA["symptoms"]), pick(_DATA["reasons"])
    exams, techniques, image = _film(study) if study.views else _SCAN
    earlier = (f"Prior chest {image}.", "Previous study available.", f"Chest {image}, prior visit.")
    exam, technique = pick(exams), pick(techniques)
    return {
        "exam": exam[:1].upper() + exam[1:],
        "indication": pick(
            (
                f"{whom} with {symptom}.",
                f"{whom}, {symptom}.",
                f"{whom}, {reason}.",
                f"{symptom.capitalize()}.",
                f"{reason.capitalize()}.",
            )
        ),
        "technique": technique[:1].upper() + technique[1:],
        "comparison": pick(("None.", "None available.", "No prior studies.") if study.prior is None else earlier),
    }


def _film(study: Study) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Return ways to name the exam, ways to name the technique, and what the picture is called."""
    names = {"PA": "PA", "AP": "AP", "LATERAL": "lateral"}
    views = " and ".join(names[view] for view in study.views)
    many = len(study.views) > 1
    portable = "portable " if study.views == ("AP",) else ""
    exams = (f"Chest radiograph, {views}.", f"{portable}{views} chest x-ray.", f"XR chest {views}.", f"{views} chest.")
    techniques = (
        f"{portable}{views} view{'s' if many else ''} of the chest.",
        f"{views} radiograph{'s' if many else ''} of the chest {'were' if many else 'was'} obtained.",
    )
    return exams, techniques, "radiograph"


def _wrapped(text: str, columns: int) -> str:
    return "\n".join(
        textwrap.fill(line, columns, initial_indent=" ", subsequent_indent=" ", break_on_hyphens=False)
        for line in text.split("\n")
    )


def lay_out(sections: Mapping[str, str], layout: Layout, pick: Pick) -> str:
    """Return the report's text; the sections come in the order given."""
    parts: list[str] = []
    for number, (name, body) in enumerate(sections.items(), start=1):
        title = pick(_TITLES[name])
        title = title if layout.upper else title.capitalize()
        flat = re.sub(r"\n", " ", body) if layout.name == "one_line" else body
        part = layout.header.format(title=title, number=number) + flat
        parts.append(_wrapped(part, layout.wrap) if layout.wrap else part)
    return layout.before + layout.between.join(parts)
