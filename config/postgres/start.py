"""`python -m config.postgres.start`: have the embedded server run, for those who use it already."""

import sys

from config.home import headrace_home
from config.postgres.locks import ServerUnavailableError
from config.postgres.server import server_in

if __name__ == "__main__":
    try:
        server_in(headrace_home()).ensure_running()
    except ServerUnavailableError as error:
        sys.exit(str(error))
