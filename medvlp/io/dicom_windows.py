"""The windows that a DICOM file offers, and the choice among them (PS3.3 C.11.2.1.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medvlp.io.dicom_header import Header
from medvlp.io.errors import UnreadableImage

# Explanations are free text: told only where they are one of these words.
_KNOWN = (
    "NORMAL", "HARDER", "SOFTER", "LUNG", "LUNGS", "MEDIASTINUM", "SOFT TISSUE", "SOFTTISSUE", "BONE", "BONES", "BRAIN",
    "ABDOMEN", "LIVER", "CHEST", "STROKE", "ANGIO", "SPINE", "HEAD",
)  # fmt: skip
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Window:
    """Window `index` of `total` as the file writes it; its width may be one that the standard forbids."""

    center: float
    width: float
    function: str
    index: int
    total: int

    @property
    def name(self) -> str:
        """Name of the window in steps and warnings."""
        return "window" if self.total == 1 else f"window {self.index} of {self.total}"


def windows_of(header: Header, notes: list[str]) -> tuple[Window, ...]:
    """Return all windows of a data set or item, () where there are none; `notes` gets the warnings."""
    try:
        centers, widths = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    except ValueError:
        notes.append("WindowCenter or WindowWidth is not a finite number: no window was applied")
        return ()
    if len(centers) != len(widths):
        notes.append(
            f"{len(centers)} WindowCenter and {len(widths)} WindowWidth values: those that pair up were considered"
        )
    total = min(len(centers), len(widths))
    if not total:
        return ()
    function = (header.text("VOILUTFunction") or "LINEAR").upper()
    if function not in _FUNCTIONS:
        notes.append("VOILUTFunction is not a defined term: LINEAR was taken")
        function = "LINEAR"
    return tuple(Window(centers[k], widths[k], function, k, total) for k in range(total))


def named_windows(sources: tuple[Header, ...]) -> tuple[tuple[str, float, float, str], ...]:
    """Return (name, center, width, function) of each valid window of the first source that has any."""
    for source in sources:
        found = [valid for window in windows_of(source, []) if (valid := _valid(window, [])) is not None]
        words = [text.upper().replace("_", " ") for text in source.texts("WindowCenterWidthExplanation")]
        if found:
            names = {index: word.lower() for index, word in enumerate(words) if word in _KNOWN}
            return tuple((names.get(w.index, w.name), w.center, w.width, w.function) for w in found)
    return ()


def choose_window(sources: tuple[Header, ...], wanted: int | str | None, notes: list[str]) -> Window | None:
    """Return the window to apply, its width made valid, or None where the file has no valid one.

    `sources` are where windows may stand, the frame's own first. `wanted` is a number from 0 or an explanation in the
    file (case does not matter), refused as ``bad_window`` where there is none; None takes the first that is valid.
    """
    if wanted is not None:
        return _named(sources, wanted, notes)
    for source in sources:
        for window in windows_of(source, notes):
            if (valid := _valid(window, notes)) is not None:
                return valid
            notes.append(f"WindowWidth {window.width:g} is not allowed: {window.name} was passed over")
    return None


def _named(sources: tuple[Header, ...], wanted: int | str, notes: list[str]) -> Window:
    listed, names = (), []
    for source in sources:
        if listed := windows_of(source, notes):
            # Explanations are free text: they are compared with what the caller wrote, never shown.
            names = [name.casefold() for name in source.texts("WindowCenterWidthExplanation")]
            break
    if not listed:
        raise UnreadableImage("bad_window", detail=f"window {wanted!r} was asked for, it has none")
    name = wanted.strip().casefold() if isinstance(wanted, str) else None
    index = names.index(name) if name is not None and name in names else wanted
    if index not in range(len(listed)):
        offered = ", ".join(f"{window.index}: {window.center:g}/{window.width:g}" for window in listed)
        raise UnreadableImage("bad_window", detail=f"window {wanted!r} was asked for, it has (center/width) {offered}")
    found = listed[int(index)]
    valid = _valid(found, notes)
    if valid is None:
        raise UnreadableImage("bad_window", detail=f"WindowWidth {found.width:g} of {found.name} is not allowed")
    return valid


def _valid(window: Window, notes: list[str]) -> Window | None:
    if window.width >= 1 or (window.width > 0 and window.function != "LINEAR"):
        return window
    if window.width > 0:
        notes.append(f"WindowWidth {window.width:g} is below 1, which LINEAR does not allow: LINEAR_EXACT was applied")
        return replace(window, function="LINEAR_EXACT")
    return None
