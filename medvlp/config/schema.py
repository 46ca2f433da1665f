"""The JSON Schema of a training configuration, so that an editor completes keys and marks what is not one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medvlp.config.tree import RunConfig
from medvlp.core.registry import available, json_schema

# definition, property, folder of components, keys that stand beside a component's own options
_LISTS = (
    ("DataConfig", "prefix", "data/views", ()),
    ("DataConfig", "suffix", "data/views", ()),
    ("PhaseConfig", "objectives", "objectives", ("weight", "as")),
    ("PhaseConfig", "patches", "models/patches", ("view",)),
    ("PhaseConfig", "surgery", "models/surgery", ()),
    ("PhaseConfig", "batch_views", "data/batch_views", ()),
)

_FRACTIONS = {
    "type": "object",
    "properties": {part: {"type": "number", "minimum": 0, "maximum": 1} for part in ("train", "validate", "test")},
    "additionalProperties": False,
}


def config_schema() -> dict[str, Any]:
    """Return the schema of a YAML file that ``medvlp train`` takes, with every option of every component installed.

    A file may inherit by ``base:``, so no key is required but a component's name in a list, and a component without a
    name goes on with its base's.

    Example:
        >>> sorted(config_schema()["properties"])[:3]
        ['answers', 'banks', 'base']
    """
    whole = RunConfig.model_json_schema()
    shared = whole["$defs"]
    only_name = {"type": "string"}
    shared["TrainingOptions"]["properties"]["track"]["items"] = _component("training/trackers", shared)
    for definition, key, folder, beside in _LISTS:
        shared[definition]["properties"][key]["items"] = {"anyOf": [_component(folder, shared, beside), only_name]}
    shared["DataConfig"]["properties"]["layout"] = {
        "anyOf": [*_inheriting(_component("data/layouts", shared)), only_name, {"type": "null"}]
    }
    samplers = _inheriting(_component("data/samplers", shared))
    shared["DataConfig"]["properties"]["sampler"] = {"anyOf": [*samplers, only_name]}
    shared["PhaseConfig"]["properties"]["sampler"] = {"anyOf": [*samplers, only_name, {"type": "null"}]}
    shared["DataConfig"]["properties"]["split"] = {"anyOf": [_split(shared), _FRACTIONS, only_name, {"type": "null"}]}
    vectors = _inheriting(_component("models/text_vectors", shared))
    shared["BankConfig"]["properties"]["encoder"] = {"anyOf": [*vectors, only_name, {"type": "null"}]}
    for key, folder in (("name", "training/optimisers"), ("schedule", "training/schedules")):
        shared["OptimiserOptions"]["properties"][key]["enum"] = list(available(folder))
    model = _component("models/architectures", shared)
    encoder = {"anyOf": [*_inheriting(_component("models/encoders", shared)), only_name]}
    for choice in model["oneOf"]:
        choice["properties"] |= {
            tower: encoder for tower in ("vision", "text", "stack") if tower in choice["properties"]
        }
    whole["properties"]["model"] = {"anyOf": [*_inheriting(model), only_name]}
    states = {"anyOf": [_component("state", shared), only_name]}
    whole["properties"]["states"] = {"type": "object", "additionalProperties": states}
    shared["EvaluationConfig"]["properties"]["measures"] = _by_name("measures", shared)
    whole["properties"]["answers"] = _by_name("answers", shared)
    whole["properties"]["base"] = {"type": "string", "description": "configuration that this one goes over"}
    return _nothing_required({"$schema": "https://json-schema.org/draft/2020-12/schema", **whole})


def _by_name(folder: str, shared: dict[str, Any]) -> dict[str, Any]:
    """A mapping from a component's name to its options, or null; other names are open."""
    choices = {choice["properties"]["name"]["const"]: choice for choice in _component(folder, shared)["oneOf"]}
    for choice in choices.values():
        choice["required"] = []
    named = {name: {"anyOf": [choice, {"type": "null"}]} for name, choice in choices.items()}
    return {"type": "object", "properties": named}


def _split(shared: dict[str, Any]) -> dict[str, Any]:
    """A rule with its options; the name of a published split goes with those of ``published``."""
    found = _component("data/splits", shared)
    rules = [choice["properties"]["name"]["const"] for choice in found["oneOf"]]
    (published,) = (c for c in found["oneOf"] if c["properties"]["name"]["const"] == "published")
    named = {**published["properties"], "name": {"type": "string", "not": {"enum": rules}}}
    return {"oneOf": [*found["oneOf"], {**published, "properties": named, "title": "a published split"}]}


def _component(folder: str, shared: dict[str, Any], beside: tuple[str, ...] = ()) -> dict[str, Any]:
    """The components of a folder; what they share goes to the top, where its references point."""
    found: dict[str, Any] = json_schema(folder)
    shared |= found.pop("$defs")
    for choice in found["oneOf"]:
        choice["properties"] |= dict.fromkeys(beside, True)
    return found


def _inheriting(component: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(component), {"type": "object", "not": {"required": ["name"]}}]


def _nothing_required(node: Any) -> Any:  # noqa: ANN401
    """Take every ``required`` away but that of a name, which tells components apart."""
    if isinstance(node, list):
        return [_nothing_required(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _nothing_required(value) for key, value in node.items()}
    if isinstance(node.get("required"), list):  # a mapping would be an option of that name
        out["required"] = [key for key in node["required"] if key == "name"]
    return out
