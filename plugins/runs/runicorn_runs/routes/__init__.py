"""HTTP ↔ queries and commands."""
