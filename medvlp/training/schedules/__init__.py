"""How the rate goes from its peak to the end of a run, by name."""
