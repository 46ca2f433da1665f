"""What demos and servers call: studies, sessions, the guard, the reading room. Pages hold no logic of their own."""
