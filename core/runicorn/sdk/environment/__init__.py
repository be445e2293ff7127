"""What a run ran on: interpreter, machine, packages, git state, environment variables, GPUs."""

from runicorn.sdk.environment.capture import EnvironmentCapture, EnvironmentInfo

__all__ = ["EnvironmentCapture", "EnvironmentInfo"]
