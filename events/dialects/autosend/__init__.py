"""AutoSend's wire format."""
