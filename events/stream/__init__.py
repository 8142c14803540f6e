"""The event stream: the only place where events are written.

Front door: `recording.record_events`; concurrent requests go through `group_commit`.
"""
