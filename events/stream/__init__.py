"""The event stream: how events are recorded and looked up.

Front door: `recording.record_events`; concurrent requests go through `group_commit`.
"""
