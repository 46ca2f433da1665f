"""Nothing outside an answer's own files knows it by name: read in the syntax tree of every file of the package.

A place names an answer where it imports from its file, or where a string with its name is compared (``==``, ``in``,
``startswith``, ``case``), is a key (of a dict, a subscript, ``get``), directly or through a constant of the same file.
The same of the classes of MeDSLIP. What a package exports (``attach``) is no key.

Some names are words of the package as well: kinds of fields (``boxes``), parts of `Predictions` (``pairs``), what an
answer may be told (``question``), relations of `Context.same` (``report``), sections of a report (``findings``). Such a
word alone tells nothing. It counts where what it is compared with, or is the key of, is an answer by its own name:
an identifier with ``answer``, ``component``, ``declared``, ``kept`` or ``recipe`` in it; ``answer.asks`` is what it is
told. The same of all names in ``data/layouts``, whose keys are those of other people's files.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import medvlp
from medvlp.core.answers import Asks
from medvlp.core.context import _SAME
from medvlp.core.fields import KINDS
from medvlp.core.predictions import Predictions
from medvlp.core.registry import available
from medvlp.text.sections import _TITLES

ROOT = Path(medvlp.__file__).parent
NAMES = frozenset(name for name in available("answers") if (ROOT / "answers" / f"{name}.py").is_file())
SHARED = NAMES & {*KINDS, *(each.name for each in fields(Predictions)), *get_args(Asks), *_SAME, *_TITLES}
MEDSLIP = (
    "answers/_dual_stream",
    "models/heads/dual_stream",
    "objectives/medslip",
    "objectives/_medslip",
    "zoo/medslip",
)
OF_ANSWERS = re.compile(r"answer|component|declared|kept|recipe", re.IGNORECASE)
READS = ("get", "pop", "setdefault", "startswith", "endswith", "removeprefix", "removesuffix")

# Whose business an answer is beside ``answers/NAME.py``: path -> names, with the reason.
OWN = {
    "answers/prompting": {"zero_shot"},  # its prompts and recipes
    "answers/recipes": {"zero_shot"},  # its scores in other papers' words
    "answers/_dual_stream": {"existence", "pairs"},  # what both read
    "objectives/medslip": {"existence", "pairs"},  # declares them
    "zoo/medslip": {"existence", "pairs"},  # declares them for a checkpoint of others
    "zoo/medklip.py": {"existence"},  # likewise
    "zoo/kad.py": {"existence"},  # likewise
    "models/_bundle_schema_1.py": NAMES,  # bundles that knew two answers by name
    "data/reproduction.py": NAMES,  # what papers call the tasks of their tables
}


def own_names(path: str) -> frozenset[str]:
    """Return the answers that a file may name."""
    found = {name for prefix, names in OWN.items() if path.startswith(prefix) for name in names}
    return frozenset(found | {name for name in NAMES if path == f"answers/{name}.py"})


def medslip_classes() -> frozenset[str]:
    files = (file for file in ROOT.rglob("*.py") if str(file.relative_to(ROOT)).startswith(MEDSLIP))
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    return frozenset(node.name for node in nodes if isinstance(node, ast.ClassDef))


def imported(node: ast.AST) -> list[str]:
    """Return the modules and names, dotted, that an import statement names."""
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def words(node: ast.AST | None, constants: dict[str, ast.expr], depth: int = 0) -> set[str]:
    """Return the strings that an expression is or holds: constants of the file by their value."""
    if isinstance(node, ast.Constant):
        return {node.value} if isinstance(node.value, str) else set()
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return {word for each in node.elts for word in words(each, constants, depth)}
    if isinstance(node, ast.Name) and node.id in constants and depth < 3:
        return words(constants[node.id], constants, depth + 1)
    return set()


def places(tree: ast.Module) -> Iterator[tuple[int, set[str], list[ast.AST]]]:
    """Yield line, strings and what stands on the other side of every comparison and key."""
    assigned = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None]
    constants = {
        target.id: node.value
        for node in assigned
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and node.value is not None
    }
    named: dict[ast.AST, list[ast.AST]] = {}
    exports: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            named[node.value] = [*node.targets]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            named[node.value] = [node.target]
        elif isinstance(node, ast.keyword):
            named[node.value] = [ast.Name(node.arg or "")]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "attach":
            exports.update(node.args)
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for side in sides:
                yield node.lineno, words(side, constants), [each for each in sides if each is not side]
        elif isinstance(node, ast.match_case):
            for value in (each for each in ast.walk(node.pattern) if isinstance(each, ast.MatchValue)):
                yield value.lineno, words(value.value, constants), []
        elif isinstance(node, ast.Subscript):
            yield node.lineno, words(node.slice, constants), [node.value]
        elif isinstance(node, ast.Dict) and node not in exports:
            for key in node.keys:
                yield node.lineno, words(key, constants), named.get(node, [])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READS:
            told = words(node.args[0], constants) if node.args else set()
            yield node.lineno, told, [node.func.value]


def faults(source: str, path: str) -> list[str]:
    """Return what a file says of answers that are none of its business."""
    tree, own, found = ast.parse(source), own_names(path), []
    classes = set() if path.startswith(MEDSLIP) else CLASSES
    for node in ast.walk(tree):
        for name in imported(node):
            part = name.removeprefix("medvlp.").replace(".", "/")
            answer = next((a for a in NAMES - own if re.match(rf"answers/{a}(/|$)", part)), None)
            readers = (*MEDSLIP, "answers/existence", "answers/pairs")
            of_medslip = part.startswith(MEDSLIP) and not path.startswith(readers)
            if name.startswith("medvlp.") and (answer or of_medslip):
                found.append(f"{path}:{node.lineno} imports {name}")  # type: ignore[attr-defined]
    foreign = NAMES - own
    for line, strings, others in places(tree):
        for string in strings:
            name = re.split(r"[/.]", string)[0].rstrip("_")
            if name not in foreign and string not in classes:
                continue
            other = " ".join(ast.unparse(each) for each in others)
            alone = name not in SHARED and not path.startswith("data/layouts/")
            told = name in foreign and (alone or OF_ANSWERS.search(re.sub(r"\w+\.asks\b", "", other)) is not None)
            if told or string in classes:
                found.append(f"{path}:{line} names {string!r}{f' beside {other}' if other else ''}")
    return found


CLASSES = medslip_classes()


def test_no_file_knows_an_answer_that_is_not_its_own() -> None:
    found = [
        fault for file in sorted(ROOT.rglob("*.py")) for fault in faults(file.read_text(), str(file.relative_to(ROOT)))
    ]
    assert not found, "\n" + "\n".join(found)


def test_what_is_exempt_is_there_and_needs_it() -> None:
    for path in OWN:
        assert list(ROOT.glob(f"{path}*")), path
    assert {"DualStream", "Medslip"} <= CLASSES
    assert {"zero_shot", "existence", "retrieval"} <= NAMES - SHARED
    assert {"findings", "pairs"} <= SHARED


@pytest.mark.parametrize(
    "source",
    [
        "from medvlp.answers.zero_shot import ZeroShot",
        "from medvlp.answers import existence",
        "import medvlp.answers.retrieval",
        "from medvlp.models.heads.dual_stream import DualStream",
        "def f():\n    from medvlp.objectives.medslip import Medslip",
        "if name == 'zero_shot': pass",
        "if name in ('zero_shot', 'x'): pass",
        "if 'existence' not in answers: pass",
        "OWN = 'zero_shot'\nif name == OWN: pass",
        "x = model.answers['retrieval']",
        "x = said.get('existence')",
        "x = {'zero_shot': 1}",
        "match name:\n    case 'zero_shot': pass",
        "if row.startswith('zero_shot_'): pass",
        "if choose == 'zero_shot/auroc/macro': pass",
        "if type(head).__name__ == 'DualStream': pass",
        "x = model.answers['boxes']",
        "if kept.component == 'pairs': pass",
        "answers = {'report': 1}",
        "if 'findings' in recipe_names(): pass",
    ],
)
def test_each_way_to_name_an_answer_is_found(source: str) -> None:
    named = set(re.findall(r"\w+", source)) & (NAMES | CLASSES)
    if not named:
        pytest.skip("this answer is not there yet")
    assert faults(source, "config/somewhere.py")


@pytest.mark.parametrize(
    "source",
    [
        "if kind == 'boxes': pass",
        "found['pairs'] = said.pairs",
        "if relation == 'report': pass",
        "sections.get('findings')",
        "if answer.asks != 'question': pass",
        "spec = AnswerSpec('zero_shot')",
        "x = 'zero_shot'",
        "from medvlp.answers.asking.ask import answered",
        "import medvlp.answers",
    ],
)
def test_words_that_mean_something_else_are_left_alone(source: str) -> None:
    assert faults(source, "config/somewhere.py") == []
