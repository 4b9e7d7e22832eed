"""The SQL store: the only hand-over point between the web front and the flows."""
