"""`python -m config.runtime.postgres.start`: have the embedded server run, for those who use it already."""

import sys

from config.home import headrace_home
from config.runtime.postgres.locks import ServerUnavailableError
from config.runtime.postgres.server import embedded_server_at

if __name__ == "__main__":
    try:
        embedded_server_at(headrace_home()).ensure_running()
    except ServerUnavailableError as error:
        sys.exit(str(error))
