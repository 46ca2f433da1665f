"""One verb per file, no logic: each parses words and calls the library."""
