"""Statistics of a predictions table: what is chosen on validation rows, and what it reaches on the others."""
