"""`python -m runicorn`."""

from runicorn.cli import main

main(prog_name="runicorn")
