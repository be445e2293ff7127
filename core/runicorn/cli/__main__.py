"""`python -m runicorn.cli`."""

from runicorn.cli import main

main(prog_name="runicorn")
