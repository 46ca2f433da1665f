"""What a Google-style docstring says: its first sentence, its arguments, its example, the paper that it names."""

from __future__ import annotations

import re

# "Radford et al. 2021", "Wang and Isola 2020", "Huang et al., ICCV 2021".
_PAPER = re.compile(r"[A-Z][\w-]+(?: et al\.| and [A-Z][\w-]+),? (?:[A-Z]+ )?(?:19|20)\d\d")


def first_line(doc: str) -> str:
    """Return the first line without the name that it may begin with and without its full stop.

    Example:
        >>> first_line("``sigmoid``: does this text fit the image?")
        'Does this text fit the image?'
    """
    line = doc.strip().partition("\n")[0]
    words = line.partition(": ")[2] if line.startswith("``") else line
    return f"{words[:1].upper()}{words[1:].rstrip('.')}"


def arguments(doc: str) -> dict[str, str]:
    r"""Return what "Args" says, or of a dataclass "Attributes", by name; `doc` has no indentation, as of `getdoc`.

    Example:
        >>> arguments("Do.\n\nArgs:\n    rate: how fast,\n        in samples.")
        {'rate': 'how fast, in samples'}
    """
    found = section(doc, "Args") or section(doc, "Attributes")
    parts = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)", found, re.MULTILINE | re.DOTALL)
    return {name: " ".join(words.split()).replace("``", "").rstrip(".") for name, words in parts}


def example(doc: str) -> str:
    """Return the lines of the "Example" section, or an empty text."""
    return "\n".join(line[4:] for line in section(doc, "Example").splitlines()).strip()


def paper(doc: str) -> str | None:
    """Return the first paper that a text names by authors and year, or None.

    Example:
        >>> paper("The loss of CLIP (Radford et al. 2021, eq. 1), as OpenCLIP has it (Cherti et al. 2023).")
        'Radford et al. 2021'
    """
    found = _PAPER.search(" ".join(doc.split()))
    return found[0] if found else None


def section(doc: str, name: str) -> str:
    """Return the lines under a heading of a docstring, or an empty text."""
    found = re.search(rf"^{name}:\n(.*?)(?=^\S|\Z)", doc, flags=re.MULTILINE | re.DOTALL)
    return found[1] if found else ""
