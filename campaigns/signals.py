"""What campaigns tell others of, inside the transaction that made it so."""

from django.dispatch import Signal

# Messages were reserved; sender=Message, messages: Sequence[Message], all of one workspace.
message_reserved = Signal()

# There are runs to take on, now or with the clock; sender=Run, workspace_id: UUID.
runs_wait = Signal()

# There is something for the background to begin: a broadcast, or dates; sender=Campaign, workspace_id: UUID.
campaign_waits = Signal()
