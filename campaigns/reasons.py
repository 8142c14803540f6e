"""Why something was decided: the constants of `Decision.reason`."""

from enum import StrEnum


class Reason(StrEnum):
    """One word for each reason; where it needs more, the decision's detail has it."""

    ALREADY_ENTERED = "already_entered"
    ALREADY_RUNNING = "already_running"
    TOO_SOON = "too_soon"
    NOT_MATCHED = "condition_not_met"
    TOO_LATE = "late_event"
    HISTORY = "history"
    OUTSIDE_PERIOD = "outside_period"
    PAUSED = "paused"
    NO_ADDRESS = "no_address"
    OPTED_OUT = "opted_out"
    NO_CONSENT = "no_consent"
    SUPPRESSED = "suppressed"
    CAPPED = "frequency_cap"
    QUIET_HOURS = "quiet_hours"
    VALUE_MISSING = "value_missing"
    TEMPLATE_BROKEN = "template_broken"
    GOAL = "goal"
    EXIT_RULE = "exit_rule"
    EXIT_STEP = "exit_step"
    END = "end_of_workflow"
    HELD_OUT = "held_out"
    TIMED_OUT = "timed_out"
    MERGED = "merged"
    ERASED = "erased"
    STEP_FAILED = "step_failed"
