"""RadGraph entries made by hand for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SMALL = Path(__file__).parent / "radgraph_small.json"
IN_WORDS = {
    "ANAT-DP": "Anatomy::definitely present",
    "OBS-DP": "Observation::definitely present",
    "OBS-DA": "Observation::definitely absent",
    "OBS-U": "Observation::uncertain",
}


def small() -> dict[str, Any]:
    return json.loads(SMALL.read_text())


def in_words(annotations: dict[str, Any]) -> dict[str, Any]:
    """The same with the package's labels and keys."""
    return {
        str(place): {
            **entry,
            "entities": {
                name: {**entity, "label": IN_WORDS[entity["label"]]} for name, entity in entry["entities"].items()
            },
            "data_source": None,
            "data_split": "inference",
        }
        for place, entry in enumerate(annotations.values())
    }


def entry(text: str, *entities: tuple[str, str, str]) -> dict[str, Any]:
    """An entry; an entity is (word of the text, label, "modify other word; located_at other word").

    A word that comes twice is named with its count: "lobe#2".
    """
    tokens = text.split()
    found = {}
    for word, label, relations in entities:
        plain, _, count = word.partition("#")
        place = [at for at, token in enumerate(tokens) if token == plain][int(count or 1) - 1]
        edges = [each.split() for each in relations.split(";") if each.strip()]
        found[word] = {"tokens": plain, "label": label, "start_ix": place, "end_ix": place, "relations": edges}
    return {"text": text, "entities": found}
