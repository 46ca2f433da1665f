"""What demos and servers call: a loaded bundle asked in plain data, studies in memory, the reading room, its guard."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"Options": "launch", "Reader": "reader", "open_room": "launch", "password_line": "guard"}
)
