"""The first steps of runs that start: taken before there is a row, so that one that waits is written once.

Steps that change the contact or tell the stream are left to whoever takes on due runs: effects only enrol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from campaigns.definition import CallWebhook, Definition, Record, Send, TagStep, Update
from campaigns.models import Decided, RunState
from campaigns.services.cancelling import cancel_messages
from campaigns.services.progress import Progress
from campaigns.services.turns import Chunk
from events.services import isolate

_LEFT_OUT: Final = frozenset({Update, TagStep, Record})
_SENDING: Final = frozenset({Send, CallWebhook})
MOST_MESSAGES: Final = 200
"""Made in one go: to write more takes so long that others would wait for the effects."""


def begin(
    workspace_id: UUID, runs: Sequence[RunState], definitions: Mapping[UUID, Definition], now: datetime
) -> list[Decided]:
    """Take new runs as far as they come by waiting, sending and choosing. Returns what was decided on the way.

    One whose step fails is due at it: whoever takes it on there notes why. So are those past the first messages.
    """
    progress = Progress(Chunk(workspace_id, now, runs), definitions, _LEFT_OUT)
    going: list[RunState] = []

    def heed(some: Sequence[RunState]) -> None:
        progress.going = list(some)
        progress.heed_the_stream()
        going.extend(progress.going)

    isolate([run for run in runs if not progress.is_at(run, _LEFT_OUT)], heed, _leave)
    room = MOST_MESSAGES
    while going:
        progress.going = []
        sending = [run.id for run in going if progress.is_at(run, _SENDING)]
        late = frozenset(sending[room:])
        room -= len(sending) - len(late)
        isolate([run for run in going if run.id not in late], progress.take, _leave)
        going = progress.going
    cancel_messages(workspace_id, progress.cancelled, now)
    return progress.decisions


def _leave(run: RunState, error: Exception) -> None:
    """Leave a run where it is, due since it began."""
