"""Messages: made from templates, allowed by the send policy, queued, delivered and followed up.

Front door: `queue` to enqueue, `delivery` to send, `policy` for who may be written to.
"""
