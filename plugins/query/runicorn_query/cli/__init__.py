"""Commands for people: `runicorn runs`, `show`, `compare` and `search`.

Each works beside a running server and without one, prints tables and plots on a terminal, plain text into a pipe, and JSON
with `--json`.
"""
