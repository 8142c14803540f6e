"""Rehearsals: run a version of a campaign over past events on a virtual clock, and report what it would have done.

`rehearsals` starts and runs them, `session` keeps them from writing, `timeline` is the clock, `report` the result.
"""
