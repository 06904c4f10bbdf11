"""Where events come from and records go: nouns, named after the protocol or service."""
