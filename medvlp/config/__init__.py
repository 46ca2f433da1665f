"""The configuration: the typed tree, YAML, the recipe and the JSON Schema."""
