"""`medvlp.core.components`: nothing that can be named is left out, and what is told of it is true of the registry."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from medvlp.core.components import KINDS, chosen, describe, entries
from medvlp.core.docstrings import paper
from medvlp.core.errors import UserError
from medvlp.core.registry import available, component, fill, schema
from tests.plugins import installed

ALL = [(kind, name) for kind in KINDS for name in available(kind)]
SOURCE = Path(__file__).resolve().parents[2] / "medvlp"


class Borrowed:
    """A loss of another package (Doe et al. 2031).

    Args:
        rate: how fast.

    Example:
        >>> 1 + 1
        2
    """

    def __init__(self, *, rate: float, name_of: str = "x", by: Callable[[float], float] | None = None) -> None:
        self.rate, self.name_of, self.by = rate, name_of, by


def test_the_kinds_are_the_folders_that_the_library_builds_from() -> None:
    sources = [path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py") if path.name != "components.py"]
    call = re.compile(r'\b(?:build|fill|component|available)\(\s*"([a-z_/]+)"')
    named = {kind for source in sources for kind in call.findall(source)}
    assert named <= set(KINDS)
    # Some are named by a constant.
    assert [kind for kind in set(KINDS) - named if not any(f'"{kind}"' in source for source in sources)] == []


def test_every_component_has_a_line_and_those_of_papers_name_them() -> None:
    listed = [entry for kind in KINDS for entry in entries(kind)]
    assert [(entry.kind, entry.name) for entry in listed] == ALL
    assert all(entry.summary for entry in listed)
    lines = {f"{entry.kind}/{entry.name}": entry.line() for entry in listed}
    assert lines["objectives/clip"].startswith("CLIP (Radford et al. 2021): ")
    assert lines["state/ema"].endswith("student (Tarvainen and Valpola 2017)")
    assert all(entry.paper is None or paper(entry.line()) for entry in listed)


@pytest.mark.parametrize(("kind", "name"), ALL, ids=lambda word: word)
def test_options_are_the_constructors_and_examples_are_accepted(kind: str, name: str) -> None:
    found = describe(kind, name)
    fields = schema(kind, name).model_fields
    assert [option.name for option in found.options] == list(fields)
    assert [option.default is None for option in found.options] == [field.is_required() for field in fields.values()]
    if found.source:
        ((_, used),) = yaml.safe_load(found.example).items()
        (used,) = used if isinstance(used, list) else (used,)
        spec = {"name": used} if isinstance(used, str) else used
        beside = {"weight", "as", "view", "reads", "score", "training_only", "stage"} - set(fields)
        options = {key: value for key, value in spec.items() if key not in beside and key != "name"}
        fill(kind, {"name": name, **options}, where=found.source)
    else:
        assert found.example.startswith(">>>") or not found.example


@pytest.mark.parametrize(("kind", "name"), ALL, ids=lambda word: word)
def test_a_component_is_called_as_its_file(kind: str, name: str) -> None:
    built = component(kind, name).__name__.lower().replace("_", "")
    assert built == "index" if kind == "data/layouts" else name.replace("_", "").rstrip("s") in built


def test_every_option_is_explained() -> None:
    kinds = ("data/views", "features/maps", "objectives", "measures", "models/patches")
    told = [(kind, name, each) for kind in kinds for name in available(kind) for each in describe(kind, name).options]
    assert [f"{kind}/{name}: {each.name}" for kind, name, each in told if not each.about] == []


def test_a_component_of_another_package_is_listed_and_described() -> None:
    with installed(borrowed=f"objectives {__name__}:Borrowed"):
        (entry,) = chosen("borrowed")
        found = describe("objectives", "borrowed")
    assert entry.line() == "A loss of another package (Doe et al. 2031)"
    assert [(o.name, o.type, o.default, o.about) for o in found.options] == [
        ("rate", "float", None, "how fast"),
        ("name_of", "str", "'x'", ""),
        ("by", "Callable[[float], float] | None", "None", ""),
    ]
    assert (found.source, found.example) == ("", ">>> 1 + 1\n2")


class Parent:
    """What every loss is."""


class Undocumented(Parent):
    def __init__(self, *, rate: float = 1.0) -> None:
        self.rate = rate


def test_a_package_that_cannot_be_imported_takes_no_line_from_the_others(tmp_path: Path) -> None:
    (tmp_path / "zero_division.py").write_text("1 / 0\n")
    sys.path.insert(0, str(tmp_path))
    broken = {"gone": "objectives no_such_package:Loss", "zero": "objectives zero_division:Loss"}
    try:
        with installed(**broken):
            lines = {entry.name: entry.line() for entry in entries("objectives")}
    finally:
        sys.path.remove(str(tmp_path))
    assert "no_such_package:Loss, cannot be imported (No module named 'no_such_package')" in lines.pop("gone")
    assert lines.pop("zero") == "Cannot be used: division by zero"
    assert lines == {entry.name: entry.line() for entry in entries("objectives")}


def test_a_component_without_words_is_not_told_in_those_of_its_parent() -> None:
    with installed(bare=f"objectives {__name__}:Undocumented"):
        assert (describe("objectives", "bare").summary, chosen("bare")[0].summary) == ("", "")


def test_words_choose_a_kind_a_name_or_both() -> None:
    assert chosen("views") == chosen("data/views") == entries("data/views")
    assert [entry.kind for entry in chosen("class_prototypes")] == ["objectives", "state"]
    assert chosen("objectives/clip") == chosen("clip")
    assert [entry.kind for entry in chosen("scores/dot")] == ["models/scores"]
    with pytest.raises(UserError) as refused:
        chosen("siglp")
    said = str(refused.value)
    assert said.startswith("There is no kind or component named 'siglp': did you mean 'siglip'? (allowed: ")
    assert said.endswith(" more); `medvlp components` lists all.")
    with pytest.raises(UserError, match="did you mean 'objectives/siglip'"):
        chosen("objectives/siglp")
    with pytest.raises(UserError, match="named 'state/clip'"):
        chosen("state/clip")


def test_listing_imports_no_component() -> None:
    program = "import sys; from medvlp.core.components import KINDS, entries; [entries(k) for k in KINDS]; "
    program += "print(sorted({'torch', 'timm', 'monai', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["data.layouts.csv", "data.shards", "pages.cohort", "pages.run_folder"])
def test_what_computes_no_tensor_loads_no_torch(name: str) -> None:
    """A second of a processor's time, for each table that is indexed or scored."""
    program = f"import sys, medvlp.{name}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"


def test_the_package_alone_reads_files() -> None:
    """``medvlp.io.read_image`` after ``import medvlp``, as it is written everywhere."""
    program = "import sys, medvlp; print(medvlp.io.read_image is medvlp.read_image, 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "True False\n"


@pytest.mark.parametrize(
    ("kind", "name", "option", "words"),
    [
        ("objectives", "caption", "layers", "int, at least 1"),
        ("objectives", "caption", "width", "int, at least 1 | None"),
        ("objectives", "class_prototypes", "temperature", "float, above 0 | 'density'"),
        ("objectives", "classify", "uncertain", "dict[str, float (at least 0, at most 1)]"),
        ("measures", "detection", "iou", "tuple[float (above 0, at most 1), ...], length at least 1"),
        ("data/layouts", "chexpert", "parts", "tuple['train' | 'validate' | 'test', ...]"),
    ],
)
def test_a_type_is_told_without_the_names_that_its_module_has_for_others(
    kind: str, name: str, option: str, words: str
) -> None:
    assert next(each.type for each in describe(kind, name).options if each.name == option) == words
