"""Patches: reversible changes at named sites of the towers; a component's name is its file."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"Handle": "_patch", "Patch": "_patch", "Patched": "_patch", "apply_patches": "_patch"}
)
