"""Names of findings and groups as a reader wants them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["group_words", "spoken", "words_of"]

_COLUMNS = {"view_position": "view", "age_band": "age"}


def words_of(name: str) -> str:
    """Return the name of a finding or column as words.

    Example:
        >>> words_of("rib_fracture"), words_of("view_position")
        ('rib fracture', 'view')
    """
    return _COLUMNS.get(name, name.replace("_", " "))


def group_words(group: str | None) -> str:
    """Return a subgroup in words.

    Example:
        >>> group_words("view_position=AP"), group_words("sex & site=F & north"), group_words(None)
        ('view AP', 'sex F and site north', 'everybody')
    """
    if not group:
        return "everybody"
    names, _, values = group.partition("=")
    pairs = zip(names.split(" & "), values.split(" & "), strict=False)
    return spoken([f"{words_of(name)} {value}".replace("_", " ") for name, value in pairs])


def spoken(words: Sequence[str], *, last: str = "and") -> str:
    """Return words as a list that can be read aloud.

    Example:
        >>> spoken(["a"]), spoken(["a", "b", "c"]), spoken(["PA", "AP"], last="or")
        ('a', 'a, b and c', 'PA or AP')
    """
    return f" {last} ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
