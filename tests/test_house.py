"""The rules of the house that a tool can check: sizes, words, and that a user reaches all that is here."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

import medvlp
from medvlp.core.components import KINDS

PACKAGE = Path(medvlp.__file__).parent
ROOT = PACKAGE.parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
# Words of our own that gave way to the field's.
OLD = {
    "judge",
    "judges",
    "crew",
    "told",
    "say",
    "says",
    "doubt",
    "doubts",
    "gaze",
    "looks",
    "flesh",
    "kept",
    "alone",
    "taken",
}
# What somebody else calls: torch, logging, html.parser, onnxruntime.
HOOKS = {"emit", "extra_repr", "handle_starttag", "handle_endtag", "handle_data", "seekable", "get_next"}


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_file_is_over_400_lines_and_the_usual_one_is_near_100() -> None:
    sizes = {path.relative_to(PACKAGE).as_posix(): lines(path) for path in trees()}
    assert {name: size for name, size in sizes.items() if size > 400} == {}
    assert 80 <= statistics.median(sizes.values()) <= 140


def test_functions_are_short() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}:{node.name}": length(node) - documented(node)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, FUNCTIONS)
    }
    assert {name: size for name, size in found.items() if size > 80} == {}
    assert statistics.median(found.values()) <= 10


def documented(node: ast.AST) -> int:
    """Lines of the docstring."""
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return length(first) if is_text and first is not None else 0


def test_more_than_a_fifth_of_the_package_is_documentation() -> None:
    total = sum(lines(path) for path in trees())
    held = sum(
        documented(n) for tree in trees().values() for n in ast.walk(tree) if isinstance(n, (ast.Module, *DEFINITIONS))
    )
    assert held >= 0.22 * total


def test_nothing_lies_at_the_top_but_what_a_source_distribution_holds() -> None:
    """Files that somebody tried something with are no part of the project."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: git knows what is part of the project")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    given = {*build["targets"]["sdist"]["include"], "pyproject.toml", ".gitignore", ".ci"}
    assert {name.partition("/")[0] for name in listed.split("\0") if name} == given


def test_configuration_is_the_tree_its_components_yaml_the_recipe_and_the_schema() -> None:
    sizes = {path.name: lines(path) for path in trees() if path.parent.name == "config"}
    assert sizes.keys() == {"__init__.py", "tree.py", "components.py", "yaml.py", "recipe.py", "schema.py"}
    assert sum(sizes.values()) <= 1200


def names(tree: ast.Module) -> Iterator[str]:
    """Every name that a file gives or uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, DEFINITIONS):
            yield node.name
        elif isinstance(node, ast.arg) or (isinstance(node, ast.keyword) and node.arg):
            yield node.arg


@pytest.mark.parametrize("room", sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()))
def test_the_words_are_the_fields_own(room: str) -> None:
    found = {
        name
        for path, tree in trees().items()
        if path.relative_to(PACKAGE).parts[0] == room
        for name in (*names(tree), path.stem)
        if OLD & {part.lower() for part in re.findall(r"[A-Z]?[a-z]+", name)}
    }
    assert found == set()


def test_everything_is_reached_from_a_command_a_configuration_or_the_public_api() -> None:
    """A definition is used outside itself, or named in the manual, an app, or a script of a page."""
    components = {path for kind in KINDS for path in (PACKAGE / kind).glob("[!_]*.py")}
    used = Counter(name for tree in trees().values() for name in uses(tree))
    for path in (
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("docs/**/*.ipynb"),
        *ROOT.glob("apps/*.py"),
        ROOT / "README.md",
    ):
        used.update(re.findall(r"[A-Za-z_]\w*", path.read_text(encoding="utf-8")))
    for path in PACKAGE.rglob("*"):
        if path.suffix in {".jinja", ".js", ".html"}:
            used.update(re.findall(r"[A-Za-z_]\w*", path.read_text(encoding="utf-8")))
    found = [
        f"{path.relative_to(PACKAGE)}:{node.name}"
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, DEFINITIONS)
        and not used[node.name]
        and not node.name.startswith("__")
        and node.name not in HOOKS
        and not registered(node)
        and not (path in components and node.name == first_public(tree))
        and not (path.parent.name == "exports" and node.name.endswith("_bytes"))  # by their kind, see `kinds`
    ]
    assert found == []


def test_packages_that_users_install_are_those_that_the_code_asks_for() -> None:
    """Of what is installed here: none for nothing, and none that is there only because something else brought it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [some for name, some in project["optional-dependencies"].items() if name not in ("bench", "dev", "docs")]
    declared = {plain(each) for some in (project["dependencies"], *extras) for each in some}
    modules = {module: {plain(each) for each in of} for module, of in packages_distributions().items()}
    there = declared & set().union(*modules.values())
    # Of these a package in between decides the version: gradio brings fastapi, pydantic its pydantic_core.
    brought = {plain(each) for package in there for each in requires(package) or () if "extra ==" not in each}
    nodes = [node for tree in trees().values() for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    asked = [modules[top] for name in names if (top := name.partition(".")[0]) in modules.keys() - {"medvlp"}]
    assert [each for each in asked if not each & (declared | brought)] == []
    text = "\n".join(
        [*names, *(node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) is str)]
    )
    own = {package: [module for module, of in modules.items() if package in of] for package in there}
    for package in there - {"pylibjpeg"}:  # which pydicom imports for its plugins
        assert re.search(rf"(^|[.])({'|'.join([package, *own[package]])})($|[.])", text, re.MULTILINE), package


def plain(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-").replace(".", "-")


def test_an_extra_that_a_sentence_names_brings_what_is_missing() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    brings = {extra: {re.split(r"[^\w-]", each)[0] for each in listed} for extra, listed in extras.items()}
    named = {"mlflow": "mlflow-skinny"}  # the package of a module, where it has another name
    calls = [node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    asked = [node.args for node in calls if isinstance(node.func, ast.Name) and node.func.id == "needs"]
    assert asked
    for extra, *modules in ([ast.literal_eval(each) for each in given] for given in asked):
        assert {named.get(module, module) for module in modules} <= brings[extra]
    text = "".join(path.read_text(encoding="utf-8") for path in trees())
    assert set(re.findall(r"openmedvlp\[(\w+)\]", text)) <= extras.keys()


def test_what_a_docstring_names_by_its_whole_address_is_there() -> None:
    missing = []
    for path in trees():
        for name in re.findall(r"`(medvlp(?:\.\w+)+)`", path.read_text(encoding="utf-8")):
            parts = name.split(".")
            places = [ROOT.joinpath(*parts[:end]) for end in range(len(parts), 0, -1)]
            at, place = next(
                (at, file)
                for at, each in enumerate(places)
                for file in (each.with_suffix(".py"), each / "__init__.py")
                if file in trees()
            )
            source = place.read_text(encoding="utf-8").replace(ast.get_docstring(trees()[place], clean=False) or "", "")
            if any(not re.search(rf"\b{word}\b", source) for word in parts[len(parts) - at :]):
                missing.append(f"{path.relative_to(PACKAGE)}: {name}")
    assert missing == []


def uses(tree: ast.Module) -> Iterator[str]:
    """Names that a file reads, strings that may be names included; what a definition says of itself does not count."""

    def walk(node: ast.AST, within: tuple[str, ...]) -> Iterator[str]:
        if isinstance(node, ast.alias) and node.asname and node.asname != node.name:
            yield node.name  # used by another name
        if is_all(node):
            return
        if is_address(node):
            yield "attach"
            return
        if isinstance(node, ast.Name) and node.id not in within:
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value
        inside = (*within, node.name) if isinstance(node, DEFINITIONS) else within
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(tree, ())


def is_all(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)


def is_address(node: ast.AST) -> bool:
    """Whether this gives names of a package's modules a second address, which is no use of them."""
    return (
        isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "attach"
    )


def registered(node: ast.AST) -> bool:
    """Whether a decorator hands it over: a command, a validator, a route."""
    said = [ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ())]
    return any(
        re.search(r"command|validator|serializer|callback|register|\.(get|post|api|middleware)\(", text)
        for text in said
    )


def first_public(tree: ast.Module) -> str:
    """The component that a file holds, as the registry finds it."""
    named = [node.value.elts[0] for node in tree.body if is_all(node) and isinstance(node.value, ast.List)]
    defined = (node.name for node in tree.body if isinstance(node, DEFINITIONS) and not node.name.startswith("_"))
    return str(named[0].value) if named else next(defined, "")
