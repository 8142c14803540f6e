"""Segment's tracking API, as the clients of Segment, RudderStack and Customer.io's data pipelines speak it."""
