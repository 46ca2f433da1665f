"""Recipes by name: a file of ``configs/zero_shot/recipes`` (component, options, prompts), or a component alone.

A file says everything that a score depends on, so that its hash is the recipe's identity::

    name: chexzero_v1
    about: who scores so, in a sentence
    recipe: {name: pair_softmax, scale: 1.0}
    templates: {positive: ["{finding}"], negative: ["no {finding}"]}
    findings: {effusion: [pleural effusion]}

Instead of templates ``prompts: zero_shot/NAME.yaml`` takes a written set, and neither takes the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medvlp.answers.prompting.recipe import Recipe
from medvlp.core.errors import ConfigError, did_you_mean
from medvlp.core.files import plain_yaml
from medvlp.core.provenance import hash_of
from medvlp.core.registry import available, build, fill, validation_sentences
from medvlp.core.resources import resource, resource_folder
from medvlp.text.prompt_templates import OwnTexts, expand_templates
from medvlp.text.prompts import PromptSet, load_prompts

OWN = "zero_shot"
_FOLDER = "answers/recipes"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Texts(_Strict):
    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)
    uncertain: tuple[str, ...] = ()
    sided: tuple[str, ...] = ()


class _File(_Strict):
    name: str = Field(pattern=r"^[a-z0-9_-]+$")  # results are files of this name
    about: str
    recipe: dict[str, Any]
    prompts: str | None = None
    templates: _Texts | None = None
    findings: dict[str, tuple[str, ...] | _Texts] = Field(default_factory=dict)
    slots: dict[str, dict[str, tuple[str, ...]]] = Field(default_factory=dict)


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe with its prompts.

    Attributes:
        name: as it was asked for and as results state it.
        recipe: the component.
        prompts: one set a finding.
        spec: component and options, with every default.
        hash: of component, options and prompts.
    """

    name: str
    recipe: Recipe
    prompts: tuple[PromptSet, ...]
    spec: dict[str, object]
    hash: str


def recipe_names() -> tuple[str, ...]:
    """Return the names that `load_recipe` knows: files, then components, then the model's own prompt pairs."""
    files = sorted(path.stem for path in (resource_folder("configs") / "zero_shot" / "recipes").glob("*.yaml"))
    return (*files, *(name.replace("_", "-") for name in available(_FOLDER)), OWN)


def load_recipe(name: str | Path, *, own: Sequence[PromptSet] = ()) -> NamedRecipe:
    """Load a zero-shot recipe by name or file.

    Args:
        name: of a file in ``configs/zero_shot/recipes`` (``chexzero_v1``) or the path of such a file; of a component
            (``pair-softmax``), with its defaults; or ``zero_shot``, the prompt ensemble over the model's own prompts.
        own: the model's own prompts, for a recipe that brings none.

    Raises:
        ConfigError: if there is no such recipe, its file is faulty, or there are no prompts.

    Example:
        >>> made = load_recipe("chexzero_v1")
        >>> made.recipe.name, made.prompts[0].positive, made.prompts[0].negative
        ('pair-softmax', ('atelectasis',), ('no atelectasis',))
    """
    text = str(name)
    plain = "prompt_ensemble" if text == OWN else text.replace("-", "_")
    if plain in available(_FOLDER):
        return _made(text, {"name": plain}, tuple(own), where=f"recipe {text}")
    if text.endswith((".yaml", ".yml")):
        path = Path(name)
    elif text in recipe_names():
        path = resource("configs", f"zero_shot/recipes/{text}.yaml")
    else:
        raise ConfigError(f"There is no recipe {text!r}: {did_you_mean(text, recipe_names())}.")
    return _read(path, tuple(own))


def _read(path: Path, own: tuple[PromptSet, ...]) -> NamedRecipe:
    tree = plain_yaml(path, refused=ConfigError, mend="check the path and mend the syntax there")
    try:
        file = _File.model_validate(tree)
    except ValidationError as error:
        sentences = " ".join(validation_sentences(error, where="", model=_File))
        raise ConfigError(f"The recipe file {path}: {sentences}") from None
    if file.prompts is not None and (file.templates or file.findings):
        raise ConfigError(f"The recipe file {path} has prompts and templates or findings: keep one.")
    if file.prompts is not None:
        prompts = load_prompts(resource("configs", file.prompts))
    elif file.findings:
        templates = {} if file.templates is None else file.templates.model_dump()
        given = {label: OwnTexts(**dict(e)) if isinstance(e, _Texts) else e for label, e in file.findings.items()}
        prompts = expand_templates(file.name, templates, given, file.slots)
    else:
        prompts = own
    return _made(file.name, file.recipe, prompts, where=f"{path.name}: recipe")


def _made(name: str, spec: dict[str, Any], prompts: tuple[PromptSet, ...], *, where: str) -> NamedRecipe:
    if not prompts:
        raise ConfigError(f"The recipe {name!r} has no prompts and the model brings none: name a recipe file.")
    filled = fill(_FOLDER, spec, where=where)
    recipe = build(_FOLDER, spec, where=where)
    return NamedRecipe(name, recipe, prompts, filled, hash_of([filled, [asdict(each) for each in prompts]]))
