"""All sentence forms together, read from the YAML files beside this one, and by topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from medvlp.phantom._files import read_facts
from medvlp.phantom.facts import FINDINGS
from medvlp.phantom.prose.form import SentenceForm, Wording, nouns, read_forms


def _wordings() -> Iterator[tuple[str, Wording]]:
    for file in ("airspace", "bone_and_devices", "diffuse", "pleura"):
        for name, words in read_facts(f"prose/{file}").items():
            yield (
                name,
                Wording(
                    anatomy=words["anatomy"],
                    grades=words["grades"],
                    named=nouns(words["named"]),
                    denied=words["denied"],
                    forms=read_forms(words["forms"], prefix=f"{name}/"),
                ),
            )


WORDINGS = MappingProxyType(dict(_wordings()))

SENTENCE_FORMS: tuple[SentenceForm, ...] = (
    *(form for name in FINDINGS for form in WORDINGS[name].forms),
    *read_forms(read_facts("prose/frames")),
    *read_forms(read_facts("prose/normal")),
)
FORMS: Mapping[tuple[str, bool], tuple[SentenceForm, ...]] = {
    (topic, held_out): tuple(form for form in SENTENCE_FORMS if (form.topic, form.held_out) == (topic, held_out))
    for topic in {form.topic for form in SENTENCE_FORMS}
    for held_out in (False, True)
}
"""Topic, as ``"effusion/present"``, and whether held out -> its sentence forms."""
