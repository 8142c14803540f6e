"""What the services announce to the background, inside their transactions."""

from django.dispatch import Signal

# There is something to build or to tell; sender=Segment, workspace_id: UUID, segment_id: UUID.
segment_waits = Signal()

# These versions serve no more, nor are they drafts; sender=Segment, workspace_id: UUID, versions: list[UUID].
versions_retired = Signal()
