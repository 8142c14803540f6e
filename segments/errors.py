"""Why a segment cannot be taken, changed or deleted."""

from collections.abc import Sequence

from config.errors import DomainError


class SegmentNotFound(DomainError):
    code = "segment_not_found"

    def __init__(self) -> None:
        super().__init__("Segment not found")


class SegmentExists(DomainError):
    code = "segment_exists"

    def __init__(self, name: str) -> None:
        super().__init__("A segment with this name already exists")
        self.name = name


class InvalidSegmentName(DomainError):
    code = "invalid_segment_name"

    def __init__(self) -> None:
        super().__init__("The name must be a text of 1 to 255 characters.")


class SegmentInUse(DomainError):
    """Other rules build on it; `users` are their names."""

    code = "segment_in_use"

    def __init__(self, users: Sequence[str]) -> None:
        super().__init__(f"Other rules build on this segment: {', '.join(users)}")
        self.users = tuple(users)


class SegmentHasNoDraft(DomainError):
    """There is nothing to publish, or to hold against what serves."""

    code = "segment_has_no_draft"

    def __init__(self) -> None:
        super().__init__("The segment has no draft")


class SegmentNotBuilt(DomainError):
    """The draft has not been held against every contact yet."""

    code = "segment_not_built"

    def __init__(self) -> None:
        super().__init__("The draft is not built yet")


class SegmentIsStatic(DomainError):
    code = "segment_is_static"

    def __init__(self) -> None:
        super().__init__("A static segment has no rule")


class SegmentIsDynamic(DomainError):
    code = "segment_is_dynamic"

    def __init__(self) -> None:
        super().__init__("The rule alone decides who is in this segment")


class InvalidMemberList(DomainError):
    code = "invalid_member_list"

    def __init__(self, message: str) -> None:
        super().__init__(message)


class PreviewTooSlow(DomainError):
    """Not even the first contacts could be evaluated in the time that a preview may take."""

    code = "preview_too_slow"

    def __init__(self) -> None:
        super().__init__("The rule takes too long to be tried out")
