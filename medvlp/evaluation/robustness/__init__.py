"""How scores hold when one thing about the pictures changes."""
