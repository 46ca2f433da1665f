"""A link below each table of a page that saves it as CSV: the file is in the link, so that the page stays one file."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from medvlp.core.files import inert

_BOX = re.compile(r'<div class="scroll"[^>]*? aria-label="([^"]*)">\s*(<table.*?</table>)\s*</div>', re.DOTALL)
_RANGE = re.compile(r"^(-?\d[\d.]*) to (-?\d[\d.]*)$")


def with_downloads(page: str) -> str:
    """Return a page with a link below each table that stands in a box with a name.

    Example:
        >>> box = '<div class="scroll" aria-label="All of it"><table><tr><td>1</td></tr></table></div>'
        >>> with_downloads(box).partition('<p class="save">')[2].partition(" href")[0]
        '<a download="all-of-it.csv"'
    """
    return _BOX.sub(_linked, page)


def csv_of_table(table: str) -> str:
    r"""Return an HTML table as CSV; an interval below a number becomes two columns of its own.

    Example:
        >>> csv_of_table('<tr><th>AUROC</th></tr><tr><td><b>0.8</b><span class="small">0.7 to 0.9</span></td></tr>')
        'AUROC,AUROC low,AUROC high\n0.8,0.7,0.9\n'
    """
    rows = _Rows(table.replace("\u202f", "")).rows  # between thousands on the page: a program reads no number there
    width = max((len(row) for row in rows), default=0)
    rows = [[*row, *(_Cell() for _ in range(width - len(row)))] for row in rows]
    ranged = [any(row[at].limits for row in rows) for at in range(width)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for number, row in enumerate(rows):
        line: list[str] = []
        for cell, interval in zip(row, ranged, strict=True):
            line.append(inert(cell.words))
            if interval and number == 0:
                line += [inert(f"{cell.words} {end}") for end in ("low", "high")]
            elif interval:
                line += cell.limits or ("", "")
        writer.writerow(line)
    return buffer.getvalue()


def _linked(found: re.Match[str]) -> str:
    name = re.sub(r"[^\w]+", "-", found[1].lower()).strip("-") or "table"
    # With a byte order mark, without which a spreadsheet takes UTF-8 for something else.
    coded = base64.b64encode(csv_of_table(found[2]).encode("utf-8-sig")).decode("ascii")
    link = (
        f'<a download="{name}.csv" href="data:text/csv;base64,{coded}">CSV<span class="unseen">: {found[1]}</span></a>'
    )
    return f'{found[0]}<p class="save">{link}</p>'


@dataclass
class _Cell:
    """Text of a cell, and what stands small below it."""

    main: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)

    @property
    def limits(self) -> tuple[str, ...] | None:
        """Ends of an interval that stands below a number."""
        found = next((match for each in self.small if (match := _RANGE.match(each.strip()))), None)
        return None if found is None else found.groups()

    @property
    def words(self) -> str:
        """All text but the interval."""
        more = [text for each in self.small if (text := " ".join(each.split())) and not _RANGE.match(text)]
        main = " ".join(" ".join(self.main).split())
        notes = "; ".join(more)
        return f"{main} ({notes})" if main and notes else main or notes


class _Rows(HTMLParser):
    """The rows of a table; foot notes' marks are left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[_Cell]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kind = "small" if tag == "span" and "small" in (dict(attrs).get("class") or "").split() else tag
        if tag == "br":
            return
        self._open.append(kind)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append(_Cell())
        elif kind == "small" and self.rows and self.rows[-1]:
            self.rows[-1][-1].small.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not (self.rows and self.rows[-1]) or not {"td", "th"} & set(self._open) or "sup" in self._open:
            return
        cell = self.rows[-1][-1]
        if "small" in self._open:
            cell.small[-1] += data
        else:
            cell.main.append(data)
