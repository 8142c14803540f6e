"""Reasons of decisions, and of messages that were not sent."""

from enum import StrEnum


class Reason(StrEnum):
    """Value of `Decision.reason`; `Decision.detail` has more where there is more to say."""

    ALREADY_ENTERED = "already_entered"
    ALREADY_RUNNING = "already_running"
    TOO_SOON = "too_soon"
    NOT_MATCHED = "condition_not_met"
    TOO_LATE = "late_event"
    HISTORY = "history"
    OUTSIDE_PERIOD = "outside_period"
    PAUSED = "paused"
    PARKED = "campaign_parked"
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
    BOUNCED = "bounced"
    SEND_FAILED = "send_failed"
    UNKNOWN = "unknown"
    ARCHIVED = "campaign_archived"


def reason_of_message(status: str, error: str) -> Reason | None:
    """Return why a message was not sent; None: it was, or still may be."""
    match status:
        case "CANCELLED":
            return Reason(error) if error in set(Reason) else None
        case "FAILED":
            return Reason.SEND_FAILED
        case "BOUNCED":
            return Reason.BOUNCED
        case "UNKNOWN":
            return Reason.UNKNOWN
        case _:
            return None
