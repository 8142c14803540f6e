"""What campaigns did: reports, the trace of one event, counters, and the audit of effects."""
