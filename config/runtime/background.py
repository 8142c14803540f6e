"""Wake the background: publish a Celery task by name once the transaction has committed."""

from celery import current_app
from django.db import transaction


def wake(task: str, *arguments: object) -> None:
    """Have a task published after the commit. A broker that refuses is logged; the sweep does the work then.

    `task`: its registered name, as services import no tasks. `arguments`: JSON.
    """
    transaction.on_commit(lambda: publish(task, *arguments), robust=True)


def publish(task: str, *arguments: object, expires_seconds: int | None = None) -> None:
    """Send a task to the broker. Raises whatever its client raises."""
    current_app.send_task(task, args=arguments, expires=expires_seconds, retry=False, ignore_result=True)
