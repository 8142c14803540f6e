"""What campaigns tell others of, inside the transaction that made it so."""

from django.dispatch import Signal

# Messages were reserved; sender=Message, messages: Sequence[Message], all of one workspace.
message_reserved = Signal()

# There are enrollments to take on, now or with the clock; sender=Enrollment, workspace_id: UUID.
enrollments_due = Signal()

# There is something for the background to begin: a broadcast, or dates; sender=Campaign, workspace_id: UUID.
campaign_work_due = Signal()
