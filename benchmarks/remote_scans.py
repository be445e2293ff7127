"""How long a look at a whole remote root takes: `python -m benchmarks.remote_scans HOST PORT USER KEY ROOT COUNT`.

In a process of its own, with a configuration directory of its own. It prints a line when it is connected and warm, waits for
one, and prints the seconds of each look as JSON.
"""

from __future__ import annotations

import json
import sys

from benchmarks.figures import timed
from runicorn_remote.connection import Connection
from runicorn_remote.connector import Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.enumeration import enumerate_root
from runicorn_remote.host_keys import HostKeyPolicy


def main() -> None:
    """Look as often as is asked for."""
    host, port, username, key, root, count = sys.argv[1:]
    credentials = Credentials(private_key_path=key, use_agent=False)
    connection = Connection(Target(host, int(port), username), credentials, HostKeyPolicy())
    try:
        enumerate_root(connection, root)
        print(flush=True)
        sys.stdin.readline()
        print(json.dumps([timed(lambda: enumerate_root(connection, root)) for _ in range(int(count))]), flush=True)
    finally:
        connection.close()


if __name__ == "__main__":
    main()
