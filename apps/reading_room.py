"""The reading room as a script: ``python apps/reading_room.py [BUNDLE ...]``; ``medvlp demo`` has options besides."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from medvlp.serving import Options, open_room


def main() -> None:
    """Open the room on loopback with the bundles that the command line names."""
    bundles = tuple(Path(name) for name in sys.argv[1:])
    port = int(os.environ.get("PORT", "7860"))
    open_room(Options(bundles=bundles, port=port)).wait(print)


if __name__ == "__main__":
    main()
