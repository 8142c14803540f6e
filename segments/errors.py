"""Domain errors of segments."""

from collections.abc import Sequence

from config.errors import ConflictError, DomainError, NotFoundError


class SegmentNotFound(NotFoundError):
    code = "segment_not_found"
    message = "Segment not found"


class SegmentExists(ConflictError):
    code = "segment_exists"
    message = "A segment with this name already exists"


class InvalidSegmentName(DomainError):
    code = "invalid_segment_name"
    message = "The name must be a text of 1 to 255 characters."


class SegmentInUse(ConflictError):
    """Rules build on it or campaigns name it; `users` are their names."""

    code = "segment_in_use"

    def __init__(self, users: Sequence[str]) -> None:
        super().__init__(f"This segment is used by: {', '.join(users)}")
        self.users = tuple(users)


class SegmentHasNoDraft(ConflictError):
    """There is no draft to publish or compare."""

    code = "segment_has_no_draft"
    message = "The segment has no draft"


class SegmentNotBuilt(ConflictError):
    """The draft is not evaluated for every contact yet."""

    code = "segment_not_built"
    message = "The draft is not built yet"


class SegmentIsStatic(ConflictError):
    code = "segment_is_static"
    message = "A static segment has no rule"


class SegmentIsDynamic(ConflictError):
    code = "segment_is_dynamic"
    message = "The rule alone decides who is in this segment"


class InvalidMemberList(DomainError):
    code = "invalid_member_list"

    def __init__(self, message: str) -> None:
        super().__init__(message)


class PreviewTooSlow(DomainError):
    """Not even the first contacts could be evaluated within a preview's time."""

    code = "preview_too_slow"
    message = "The rule takes too long to be tried out"
