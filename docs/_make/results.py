"""Write the pages of results, and README's small table, from the JSON that is stored beside them.

    python docs/_make/results.py
    python docs/_make/plots.py   # the pictures of speed and of the comparison

A number is edited in ``docs/results/NAME.json`` and nowhere else; ``docs/_make/results/NAME.md.j2`` says how it is
shown and holds none itself. What a benchmark of ``tests/benchmarks`` printed is pasted there as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

__all__ = ["main", "pages"]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
TEMPLATES = Path(__file__).resolve().parent / "results"
BEGIN, END = "<!-- written by docs/_make/results.py -->", "<!-- end -->"


def pages() -> dict[Path, str]:
    """Return what each written file must hold, README among them."""
    out = {}
    for path in sorted(RESULTS.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        out[path.with_suffix(".md")] = _render(f"{path.stem}.md.j2", data, name=path.stem)
    readme = ROOT / "README.md"
    data = json.loads((RESULTS / "quickstart.json").read_text(encoding="utf-8"))
    table = _render("_readme.md.j2", data, name="quickstart").strip()
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    out[readme] = f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"
    return out


def main() -> None:
    """Write all of them."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


def _render(template: str, data: Mapping[str, Any], *, name: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.globals |= {"table": _table, "cell": _cell}
    text = environment.get_template(template).render(name=name, **data)
    text = re.sub(r" +$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _table(table: Mapping[str, Any]) -> str:
    """A stored table as Markdown."""
    digits = int(table.get("digits", 3))
    rows = [[_cell(value, digits) for value in row] for row in table["rows"]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (table["columns"], ["---"] * len(table["columns"]), *rows))


def _cell(value: Any, digits: int = 3) -> str:  # noqa: ANN401
    """A number, an interval, or words."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        sign = "+" if value.get("signed") and value["value"] > 0 else ""
        numbers = [f"{value[key]:.{digits}f}" for key in ("value", "low", "high")]
        text = f"{sign}{numbers[0]} [{numbers[1]}, {numbers[2]}]"
        if "draws" in value:
            text += "; {:.2f} to {:.2f}".format(*value["draws"])
        return text
    if isinstance(value, list):
        return ", ".join(_cell(item, digits) for item in value)
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


if __name__ == "__main__":
    main()
