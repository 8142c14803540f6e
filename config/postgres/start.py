"""`python -m config.postgres.start`: have the embedded server run, for those who use it already."""

from config.home import headrace_home
from config.postgres.server import server_in

if __name__ == "__main__":
    server_in(headrace_home()).ensure_running()
