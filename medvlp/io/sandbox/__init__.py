"""Foreign compressed pixels are decoded in a helper process: a file that breaks a decoder breaks the helper only.

A reading process starts one helper when it first meets compressed pixels, keeps it, and starts another when it has
died. `client` runs in the reading process, `helper` and `limits` in the other one; `protocol` and `shared` are what
both agree on. The helper loads numpy and the codec that is asked for, never torch, and sees no environment but its own.
"""

from __future__ import annotations

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"Decoded": "client", "close_helper": "client", "decode": "client", "helper_pid": "client"}
)
