"""The little of Markdown that data cards are written in, as HTML: paragraphs, lists, tables, bold, code, emphasis."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

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
    return Markup('<div class="scroll"><table>{}</table></div>').format(out)


def _inline(text: str) -> Markup:
    words = str(escape(" ".join(text.split())))
    for pattern, form in _INLINE:
        words = pattern.sub(form, words)
    return Markup(words)
