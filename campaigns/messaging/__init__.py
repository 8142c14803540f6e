"""Messaging: from a request for a message to its delivery, bounces and tracking.

Front doors: `queue.enqueue_message`, `tasks.deliver`; what staff edit: `templates`, `suppressions`,
`channel_settings`. A message is enqueued (`queue`, by `policy` and `rendering`), claimed and sent (`delivery`,
`dispatcher`, `channels/`), and what comes back is recorded (`provider_reports`, `bounces`, `tracking_events`).
"""
