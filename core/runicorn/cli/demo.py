"""`runicorn demo`: a server and a real training beside it, in one command."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import click

from runicorn.cli.group import Failure

_LISTENING = "Runicorn is listening on "


@click.command()
@click.option(
    "--storage",
    default="runicorn_demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where to put the runs.",
)
@click.option(
    "--port",
    default=23300,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of the server; 0 takes a free one.",
)
@click.option(
    "--steps", default=400, show_default=True, type=click.IntRange(min=10), help="Training steps of each run."
)
@click.option(
    "--speed", default=40.0, show_default=True, type=click.FloatRange(min=1), help="Training steps per second."
)
@click.option(
    "--once", is_flag=True, help="Stop the server when the trainings are done, instead of waiting for Ctrl-C."
)
def demo(storage: Path, port: int, steps: int, speed: float, once: bool) -> None:
    """Start a server and train small models that log live. Ctrl-C ends both.

    The models are a softmax regression and a two-layer network with three learning rates, in numpy, on generated data:
    four runs of ten seconds each.

    \b
    Examples:
      runicorn demo
      runicorn demo --steps 2000 --port 8080
    """
    # The end of the terminal, or a polite kill, stops the server like Ctrl-C does: it would go on alone otherwise.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    root = storage.absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"The storage root {root} cannot be created: {error.strerror}") from error
    command = [
        sys.executable,
        "-m",
        "runicorn",
        "serve",
        "--storage",
        str(root),
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    # A process group of its own: Ctrl-C reaches the training first, and the server is stopped after it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
        try:
            url = _wait_until_listening(server)
            _introduce(url, root)
            _train(root, steps, speed)
            click.echo(
                f"\nAll runs are finished; the server goes on at {url}" if not once else "\nAll runs are finished."
            )
            if not once:
                click.echo("Press Ctrl-C to stop it.")
                server.wait()
        except KeyboardInterrupt:
            click.echo("\nStopping …")
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                    server.wait(timeout=5)
            server.kill()


def _wait_until_listening(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith(_LISTENING):
            return line.removeprefix(_LISTENING).split()[0]
    raise click.ClickException("The server did not start; see its message above. Another --port may help.")


def _introduce(url: str, root: Path) -> None:
    click.echo(f"The server answers at {url} (API description: {url}/docs); runs are in {root}\n")
    click.echo("Try, while it trains:")
    click.echo(f"  curl -s {url}/api/runs")
    click.echo(f"  runicorn events tail --follow --storage {root}\n")


def _train(root: Path, steps: int, speed: float) -> None:
    from runicorn.demo.training import train, trials

    for trial in trials():
        click.echo(f"training {trial.name} with learning rate {trial.learning_rate} … ", nl=False)
        run = train(trial, root, steps=steps, steps_per_second=speed)
        click.echo(f"run {run.id} finished")
