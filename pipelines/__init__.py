"""Commands: each picks the connectors and runs the steps."""
