"""Errors of events, definitions and idempotency keys."""

from collections.abc import Sequence

from config.errors import DomainError


class InvalidEventName(DomainError):
    code = "invalid_event_name"

    def __init__(self) -> None:
        super().__init__("The event name must be a text of 1 to 255 characters.")


class InvalidEventTime(DomainError):
    """The event's time is further ahead than a clock may be wrong, or before all history."""

    code = "invalid_event_time"

    def __init__(self, what: str = "must be a moment in the past") -> None:
        super().__init__(f"The event time {what}.")


class InvalidMessageId(DomainError):
    code = "invalid_message_id"

    def __init__(self) -> None:
        super().__init__("The message id must be a text of at most 255 characters.")


class EventNotDefined(DomainError):
    code = "event_not_defined"

    def __init__(self, name: str) -> None:
        super().__init__("Event not found")
        self.name = name


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


class DefinitionNotFound(DomainError):
    code = "definition_not_found"

    def __init__(self, name: str = "") -> None:
        super().__init__("Event not found")
        self.name = name


class DefinitionExists(DomainError):
    code = "definition_exists"

    def __init__(self, name: str) -> None:
        super().__init__("An event with this name already exists")
        self.name = name


class DefinitionLimitReached(DomainError):
    code = "definition_limit_reached"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A workspace may have at most {limit} declared events")
        self.limit = limit


class PropertyTypeLocked(DomainError):
    code = "property_type_locked"

    def __init__(self, property: str) -> None:
        super().__init__(f'The type of property "{property}" is locked')
        self.property = property


class IdempotencyConflict(DomainError):
    """The key was used for another request."""

    code = "idempotency_conflict"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with another request")


class InvalidIdempotencyKey(DomainError):
    code = "invalid_idempotency_key"

    def __init__(self) -> None:
        super().__init__("The Idempotency-Key must be 1 to 255 printable characters")


class InvalidCondition(DomainError):
    """A condition that cannot mean anything; `path` tells which part of it."""

    code = "invalid_condition"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.details = {path: [message]}
