"""All sentence forms together, read from the YAML files beside this one, and how to look one up."""

from __future__ import annotations

from collections.abc import Iterator
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


def sentence_forms(topic: str | None = None, *, held_out: bool | None = None) -> tuple[SentenceForm, ...]:
    """Return the sentence forms of a topic, with their marks.

    Args:
        topic: ``"effusion/present"``, or ``"effusion"`` for all that is said of it; None for all.
        held_out: True or False for one half, None for both.
    """
    return tuple(
        form
        for form in SENTENCE_FORMS
        if (topic is None or form.topic == topic or form.topic.startswith(f"{topic}/"))
        and (held_out is None or form.held_out == held_out)
    )
