"""All sentence forms together, and how to look one up."""

from __future__ import annotations

from types import MappingProxyType

from medvlp.phantom.facts import FINDINGS
from medvlp.phantom.prose.airspace import ATELECTASIS, CONSOLIDATION, NODULE
from medvlp.phantom.prose.bone_and_devices import CENTRAL_LINE, ENDOTRACHEAL_TUBE, PACEMAKER, RIB_FRACTURE
from medvlp.phantom.prose.diffuse import CARDIOMEGALY, EDEMA, EMPHYSEMA
from medvlp.phantom.prose.form import SentenceForm
from medvlp.phantom.prose.frames import FRAMES
from medvlp.phantom.prose.joints import JOINTS
from medvlp.phantom.prose.normal import NORMAL
from medvlp.phantom.prose.pleura import EFFUSION, PNEUMOTHORAX

__all__ = ["SENTENCE_FORMS", "WORDINGS", "sentence_forms"]

WORDINGS = MappingProxyType(
    {
        wording.name: wording
        for wording in (
            EFFUSION,
            PNEUMOTHORAX,
            CONSOLIDATION,
            NODULE,
            CARDIOMEGALY,
            EDEMA,
            ATELECTASIS,
            RIB_FRACTURE,
            EMPHYSEMA,
            PACEMAKER,
            CENTRAL_LINE,
            ENDOTRACHEAL_TUBE,
        )
    }
)

SENTENCE_FORMS: tuple[SentenceForm, ...] = (
    tuple(form for name in FINDINGS for form in WORDINGS[name].forms) + FRAMES + JOINTS + NORMAL
)


def sentence_forms(topic: str | None = None, *, held_out: bool | None = None) -> tuple[SentenceForm, ...]:
    """Return the sentence forms of a topic, with their marks.

    Args:
        topic: ``"effusion/present"``, or ``"effusion"`` for all that is said of it; None for all.
        held_out: True or False for one half, None for both.

    Example:
        >>> len(sentence_forms("effusion/present", held_out=True)) >= 12
        True
    """
    return tuple(
        form
        for form in SENTENCE_FORMS
        if (topic is None or form.topic == topic or form.topic.startswith(f"{topic}/"))
        and (held_out is None or form.held_out == held_out)
    )
