"""What campaigns tell others of, inside the transaction that made it so."""

from django.dispatch import Signal

# Sent when a message was reserved; sender=Message, message: Message.
message_reserved = Signal()
