"""YAML to plain data: ``base:`` inheritance and dotted overrides, and nothing that could run code."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.resources import resource_folder


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, which plain YAML lets the second one win."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *name`: what is written out goes over it
            continue
        if key_node.tag == "tag:yaml.org,2002:bool":  # YAML 1.1 reads the key `on` of a patch as true
            key_node.tag = "tag:yaml.org,2002:str"
        key = loader.construct_object(key_node)
        if isinstance(key, dict | list):
            raise yaml.constructor.ConstructorError(None, None, f"{key} is no key", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 reads 1e-3 as text; people who write rates do not.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)

# Key that only one kind of configuration has -> what it is of, and the command that takes it.
_KINDS = {"axes": ("a sweep", "sweep"), "phases": ("a training", "train")}
_KINDS |= {"runs": ("a suite", "evaluate"), "out": ("an evaluation", "evaluate")}


def load_tree(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a configuration: its base first, itself over it, overrides over both.

    Args:
        path: a file, or the name of one in ``configs/``.
        overrides: ``a.b=value``, see `override`.

    Raises:
        ConfigError: if a file is missing or not YAML, a base leads in a circle, or an override names nothing.
    """
    return reduce(override, overrides, _load(find_config(path), ()))


def find_config(path: str | Path, beside: Path | None = None) -> Path:
    """Return where a configuration lies: beside another, from the working folder, or in ``configs/``.

    Raises:
        ConfigError: if it is nowhere, with the nearest name.

    Example:
        >>> find_config("pretrain/phantom_clip.yaml").name
        'phantom_clip.yaml'
    """
    wished = Path(path)
    choices = [wished, resource_folder("configs") / wished]
    if beside is not None:
        choices.insert(0, beside / wished)
    for choice in choices:
        if choice.is_file():
            return choice
    folder = resource_folder("configs")
    names = [str(p.relative_to(folder)) for p in folder.rglob("*.yaml")]
    near = did_you_mean(str(path), names)
    raise ConfigError(f"Configuration {str(path)!r} is neither a file nor in configs/: {near}; {folder} has all.")


def _load(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in chain:
        raise ConfigError(f"{path} is its own base, by way of {' -> '.join(p.name for p in chain)}: break the circle.")
    tree = read_yaml(path)
    base = tree.pop("base", None)
    return tree if base is None else merge(_load(find_config(str(base), path.parent), (*chain, path)), tree)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one file as it stands, its ``base`` not followed.

    Raises:
        ConfigError: if it is not YAML, or no mapping.
    """
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 ({error}): save it in that encoding.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds no mapping at its top: write `key: value` lines.")
    return tree


def at_home(node: Any) -> Any:  # noqa: ANN401
    """Return plain data with every path below somebody's own folder, ``~/x``, written out: only a shell knows ``~``."""
    if isinstance(node, Mapping):
        return {key: at_home(each) for key, each in node.items()}
    if isinstance(node, list):
        return [at_home(each) for each in node]
    return os.path.expanduser(node) if isinstance(node, str) and node.startswith("~") else node  # noqa: PTH111 (URLs)


def refuse_other_kind(tree: Mapping[str, object], known: Collection[str], *, source: str | Path) -> None:
    """Refuse a configuration (ConfigError) of another command than that whose keys are `known`."""
    key = next((key for key in _KINDS if key in tree), None)
    if key and key not in known and any(each in known for each in _KINDS):
        what, command = _KINDS[key]
        raise ConfigError(f"{source or 'config'}: this is the configuration of {what}: use `medvlp {command}`.")


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; lists and components of another name are replaced whole, and so is all by ``{}``.

    Example:
        >>> merge({"a": {"name": "x", "k": 1}, "b": 2, "c": {"d": 3}}, {"a": {"name": "y"}, "c": {}})
        {'a': {'name': 'y'}, 'b': 2, 'c': {}}
    """
    out = dict(under)
    for key, value in over.items():
        below = out.get(key)
        same = isinstance(below, Mapping) and isinstance(value, Mapping)
        renamed = same and "name" in value and value["name"] != below.get("name")
        out[key] = merge(below, value) if same and value and not renamed else value
    return out


def override(tree: dict[str, Any], text: str) -> dict[str, Any]:
    """Return the tree with one ``dotted.path=value`` set.

    The value is YAML, list items go by number. Words that are no YAML are text: ``{folder}/{filename}``. Names of
    columns are text always, and below ``columns`` the rest of the path is one key: ``columns.label.effusion=eff``.

    Raises:
        ConfigError: if there is no ``=``, a list item does not exist, or a list, mapping or quotation is not complete.

    Example:
        >>> override({"phases": [{"until": 5}]}, "phases.0.until=9")
        {'phases': [{'until': 9}]}
        >>> override({}, "columns.label.effusion={finding}")
        {'columns': {'label.effusion': '{finding}'}}
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise ConfigError(f"Override {text!r} is not of the form key.path=value.")
    try:
        given = yaml.load(value, Loader=_Loader)
    except yaml.YAMLError as error:
        if value.lstrip()[:1] in ("[", "!", "'", '"') or value.count("{") != value.count("}"):
            raise ConfigError(f"Override {text!r}: the value is not YAML ({' '.join(str(error).split())}).") from None
        given = value
    if ".columns." in f".{path}" and given is not None and not isinstance(given, str):
        given = value
    return put(tree, path, given)


def put(tree: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return the tree with a value at a dotted path, which may be one of plain data.

    Raises:
        ConfigError: if a list item does not exist, or the path leads through a plain value.

    Example:
        >>> put({"model": {"vision": "timm"}}, "model.vision.image_size", 64)
        {'model': {'vision': {'name': 'timm', 'image_size': 64}}}
    """
    return _set(tree, re.sub(r"\[(\d+)\]", r".\1", path).split("."), value, path)


def _set(node: Any, parts: list[str], value: Any, path: str) -> Any:  # noqa: ANN401
    if not parts:
        return value
    head, rest = parts[0], parts[1:]
    if head == "columns" and len(rest) > 1 and not (isinstance(node, dict) and isinstance(node.get(head), list)):
        rest = [".".join(rest)]  # names of fields have dots
    if isinstance(node, list):
        if not head.isdigit() or int(head) >= len(node):
            raise ConfigError(
                f"Override {path!r}: the list has {len(node)} items, numbered from 0; {head!r} is not one."
            )
        return [_set(item, rest, value, path) if i == int(head) else item for i, item in enumerate(node)]
    if isinstance(node, str) and rest == [] and head != "name":
        node = {"name": node}  # a component given by its name alone
    if not isinstance(node, dict | None):
        raise ConfigError(f"Override {path!r}: {head!r} lies under a plain value, which has no keys.")
    inner = dict(node or {})
    inner[head] = _set(inner.get(head), rest, value, path)
    return inner
