"""The account that runs a command."""

import getpass
import os
import socket


def account() -> str:
    """Return USER@HOST; the number of the user where the system has no name for it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container that runs as a number
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
