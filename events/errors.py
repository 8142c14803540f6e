"""Errors of events, definitions and idempotency keys."""

from collections.abc import Sequence

from config.errors import ConflictError, DomainError, ForbiddenError, NotFoundError, UnprocessableError


class InvalidEventName(DomainError):
    code = "invalid_event_name"
    message = "The event name must be a text of 1 to 255 characters."


class InvalidEventTime(DomainError):
    """The event's time is further ahead than a clock may be wrong, or before all history."""

    code = "invalid_event_time"

    def __init__(self, what: str = "must be a moment in the past") -> None:
        super().__init__(f"The event time {what}.")


class InvalidMessageId(DomainError):
    code = "invalid_message_id"
    message = "The message id must be a text of at most 255 characters."


class EventNotDefined(NotFoundError):
    code = "event_not_defined"
    message = "Event not found"


class UnknownProperty(DomainError):
    code = "unknown_property"

    def __init__(self, name: str, property: str) -> None:
        super().__init__(f'Property "{property}" is not declared on event "{name}"')
        self.name, self.property = name, property


class InvalidPropertyValue(DomainError):
    """A value is not of its property's type and cannot become so; `type` is an `EventProperty.Type`."""

    code = "invalid_property_value"

    def __init__(self, property: str, type: str) -> None:
        super().__init__(f'Property "{property}" must be of type {type}')
        self.property, self.type = property, type


class TooManyProperties(DomainError):
    code = "too_many_properties"

    def __init__(self, limit: int) -> None:
        super().__init__(f"An event may have at most {limit} properties, at all levels together")
        self.limit = limit


class SchemaMismatch(DomainError):
    """Everything that is wrong with one event against its learned schema."""

    code = "schema_mismatch"

    def __init__(self, problems: Sequence[DomainError]) -> None:
        super().__init__("The properties do not match the event's schema")
        self.problems = tuple(problems)


class ItemRefused(DomainError):
    """An item of a batch that its wire format's parser refused; its `code` is the format's cause."""

    code = "item_refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # by the cause


class RefusedEventNotFound(NotFoundError):
    code = "refused_event_not_found"
    message = "Refused event not found"


class DefinitionNotFound(NotFoundError):
    code = "definition_not_found"
    message = "Event definition not found"


class DefinitionExists(ConflictError):
    code = "definition_exists"
    message = "An event definition with this name already exists"


class DefinitionLimitReached(ForbiddenError):
    code = "definition_limit_reached"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A workspace may have at most {limit} declared events")
        self.limit = limit


class PropertyTypeLocked(ConflictError):
    code = "property_type_locked"

    def __init__(self, property: str) -> None:
        super().__init__(f'The type of property "{property}" is locked')
        self.property = property


class IdempotencyConflict(ConflictError):
    """The key was used for another request."""

    code = "idempotency_conflict"
    message = "This Idempotency-Key was used with another request"


class InvalidIdempotencyKey(DomainError):
    code = "invalid_idempotency_key"
    message = "The Idempotency-Key must be 1 to 255 printable characters"


class InvalidCondition(DomainError):
    """A condition that cannot mean anything; `path` tells which part of it."""

    code = "invalid_condition"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.details = {path: [message]}

    @property
    def of_stored(self) -> str:
        """Return the sentence about a rule that was sound when it was stored, with the part that is no more."""
        part = f"{self.path}: " if self.path else ""
        return f"This rule cannot be read any more: {part}{self.sentence}"


class UnreadableRule(UnprocessableError):
    """A stored rule cannot be read any more, so nothing can be done by it."""

    code = "unreadable_rule"
