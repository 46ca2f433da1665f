"""What demos and servers call: a loaded bundle asked in plain data, the reading room, the explorer, their guard."""

from medvlp.core.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "BatchingQueue": "batching",
        "Options": "launch",
        "Reader": "reader",
        "open_explorer": "browse.launch",
        "open_room": "launch",
    },
)
