"""The page of a cohort: what is in it, what was left out, and what may not be concluded from it; one HTML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup, escape

from medvlp.data.card_text import prose
from medvlp.data.cards import DataCard, load_card
from medvlp.data.manifest import Manifest
from medvlp.data.readable import ReadableCohort
from medvlp.data.summary import CohortSummary, Numbers, SizeCounts, summarise, summarise_sizes
from medvlp.pages import cohort_content as content
from medvlp.pages.charts import stacked_bars
from medvlp.pages.render import environment

_CONCLUDE, _TRAPS = "what not to conclude", "traps"


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortPage:
    """Everything the cohort page shows; it holds no identifiers of records or patients.

    Attributes:
        title: of the data set.
        layout: that read it.
        hash: of the manifest.
        columns: of the manifest.
        summary: counts.
        sizes: of images; None where no file was opened.
        card: facts of the data set; None where it has no card.
        against: numbers of the card beside those found.
        conclude: what not to conclude, HTML.
        traps: HTML.
        thumbs: contact sheet.
        quarantined: unreadable files by reason.
        skipped: what the layout left out, by reason.
        opened: whether every file was opened.
        synthetic: whether nobody stands behind the data.
        identified: records that are not known to be de-identified.
    """

    title: str
    layout: str
    hash: str
    columns: tuple[str, ...]
    summary: CohortSummary
    sizes: SizeCounts | None
    card: DataCard | None
    against: tuple[content.Against, ...]
    conclude: str
    traps: str
    thumbs: tuple[content.Thumb, ...]
    quarantined: tuple[content.LeftOut, ...]
    skipped: tuple[content.LeftOut, ...]
    opened: bool
    synthetic: bool
    identified: int


def cohort_page(
    manifest: Manifest, *, title: str, card: str | None = None, looked: ReadableCohort | None = None
) -> CohortPage:
    """Gather what the page shows.

    Args:
        manifest: readable records.
        title: what the cohort is called where it has no card.
        card: name of its card.
        looked: what looking at every file found; None where none was opened.

    Example:
        >>> from pathlib import Path
        >>> cohort_page(Manifest.of({"id": ["a"], "text": ["Clear."]}, root=Path(".")), title="Ours").title
        'Ours'
    """
    facts = None if card is None else load_card(card)
    sections = {} if card is None else {heading.lower(): body for heading, body in prose(card).items()}
    summary = summarise(manifest)
    quarantined, skipped = content.left_out(looked, manifest)
    return CohortPage(
        title=title if facts is None else facts.title,
        layout=str(manifest.meta.get("layout", "")),
        hash=manifest.hash,
        columns=manifest.names,
        summary=summary,
        sizes=None if looked is None else summarise_sizes(looked.survey.brief()),
        card=facts,
        against=tuple(content.against_card(facts, manifest, summary)),
        conclude=to_html(sections.get(_CONCLUDE, "")),
        traps=to_html(sections.get(_TRAPS, "")),
        thumbs=tuple(content.thumbs(looked)),
        quarantined=tuple(quarantined),
        skipped=tuple(skipped),
        opened=looked is not None,
        synthetic=bool(manifest.meta.get("synthetic")) or (facts is not None and facts.synthetic),
        identified=_identified(manifest),
    )


def render_cohort(page: CohortPage) -> str:
    """Return the page as HTML; every text of the data is escaped, and nothing in it asks the network for anything.

    Example:
        >>> from pathlib import Path
        >>> page = cohort_page(Manifest.of({"id": ["a"], "text": ["Clear."]}, root=Path(".")), title="a <b>")
        >>> "<h1>a &lt;b&gt;</h1>" in render_cohort(page)
        True
    """
    splits = [part.name for part in page.summary.splits] or ["records"]
    charts = {numbers.name: Markup(_chart(numbers, splits)) for numbers in page.summary.numbers}
    template = environment().get_template("cohort.html.jinja", globals={"shares": content.shares})
    return template.render(page=page, summary=page.summary, charts=charts, names=_NAMES, units=_UNITS)


_UNITS: Mapping[str, str] = {"age": "years", "year": ""}
_NAMES: Mapping[str, str] = {
    "set": "Data set",
    "view_position": "View",
    "sex": "Sex",
    "site": "Site",
    "scanner": "Scanner",
    "source": "Source",
    "deidentified": "De-identified",
    "age": "Age",
    "year": "Year",
}


def _chart(numbers: Numbers, splits: list[str]) -> str:
    width = numbers.width
    ticks = [f"{edge:g}" if width == 1 else f"{edge:g}–{edge + width - 1:g}" for edge in numbers.edges]
    if numbers.top is not None:
        ticks[-1] = f"{numbers.top:g}+"
    name, unit = _NAMES[numbers.name].lower(), _UNITS[numbers.name]
    xlabel = f"{name}, {unit}" if unit else name
    series = list(zip(splits, numbers.counts, strict=True))
    return stacked_bars(ticks, series, xlabel=xlabel, ylabel="records", key=f"bars-{numbers.name}")


def _identified(manifest: Manifest) -> int:
    """Records whose files are not known to be free of names: only asked where the cohort says anything about it."""
    if "deidentified" not in manifest:
        return 0
    return int(sum(value != "yes" for value in manifest.column("deidentified")))


_INLINE = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])"), r"<em>\1</em>"),
)


def to_html(text: str) -> Markup:
    r"""Return the HTML of a card's section; every character of the text is escaped first.

    Example:
        >>> print(to_html("Not **one** <b>.\n\n- `a`\n- b\n  c"))
        <p>Not <strong>one</strong> &lt;b&gt;.</p>
        <ul><li><code>a</code></li><li>b c</li></ul>
    """
    blocks = [block for block in re.split(r"\n\s*\n", text.strip()) if block and not block.startswith("<!--")]
    return Markup("\n").join(_block(block) for block in blocks)


def _block(block: str) -> Markup:
    lines = block.splitlines()
    if lines[0].startswith("|"):
        return _table(lines)
    before, *items = re.split(r"(?:^|\n)[-*] +", block)
    listed = Markup("").join(Markup("<li>{}</li>").format(_inline(item)) for item in items)
    paragraph = Markup("<p>{}</p>").format(_inline(before)) if before.strip() else Markup("")
    return paragraph + (Markup("<ul>{}</ul>").format(listed) if items else Markup(""))


def _table(lines: list[str]) -> Markup:
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    rows = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    out = Markup("")
    for at, row in enumerate(rows):
        tag = Markup("th" if at == 0 else "td")
        cells = Markup("").join(Markup("<{0}>{1}</{0}>").format(tag, _inline(cell)) for cell in row)
        out += Markup("<tr>{}</tr>").format(cells)
    return Markup('<div class="scroll" tabindex="0" role="region" aria-label="Table"><table>%s</table></div>') % out


def _inline(text: str) -> Markup:
    words = str(escape(" ".join(text.split())))
    for pattern, form in _INLINE:
        words = pattern.sub(form, words)
    return Markup(words)
