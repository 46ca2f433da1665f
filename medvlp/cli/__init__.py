"""One verb per file, no logic: each parses words and calls the library."""

import sys

if sys.platform == "win32":  # where locks, links and files that are replaced while they are open work otherwise
    print("medvlp: Commands run on Linux and macOS: on Windows, use its Subsystem for Linux (WSL).", file=sys.stderr)
    sys.exit(2)
