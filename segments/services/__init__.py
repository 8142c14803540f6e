"""Segments: edited, built in the background, filled by rules or by hand, and asked who is in them.

`workspace` comes first in what writes, `workspace_id` in what reads; `raw` is a rule as JSON. Raised besides
what is named: SegmentNotFound where the segment is gone by now.
"""

from segments.services.building import (
    BuildProgress,
    announce_lane,
    build_lane,
    forget_stale_rows,
    progress_of,
    run_build,
    unfinished_lanes,
    unfinished_segments,
    workspaces_with_segments,
)
from segments.services.editing import (
    check_rule,
    create_segment,
    delete_segment,
    discard_draft,
    get_segment,
    publish_segment,
    rebuild_segment,
    update_segment,
    warnings,
)
from segments.services.leaving import judge_soon, leave_all_segments
from segments.services.listing import (
    Explanation,
    Member,
    count_members,
    explain_membership,
    members,
    members_at,
    segments_of,
)
from segments.services.previewing import (
    Impact,
    ImpactSample,
    Preview,
    impact_of,
    impact_of_draft,
    preview_rule,
)
from segments.services.static import (
    MemberList,
    MembersChanged,
    add_members,
    read_member_list,
    remove_members,
)

__all__ = [
    "BuildProgress",
    "Explanation",
    "Impact",
    "ImpactSample",
    "Member",
    "MemberList",
    "MembersChanged",
    "Preview",
    "add_members",
    "announce_lane",
    "build_lane",
    "check_rule",
    "count_members",
    "create_segment",
    "delete_segment",
    "discard_draft",
    "explain_membership",
    "forget_stale_rows",
    "get_segment",
    "impact_of",
    "impact_of_draft",
    "judge_soon",
    "leave_all_segments",
    "members",
    "members_at",
    "preview_rule",
    "progress_of",
    "publish_segment",
    "read_member_list",
    "rebuild_segment",
    "remove_members",
    "run_build",
    "segments_of",
    "unfinished_lanes",
    "unfinished_segments",
    "update_segment",
    "warnings",
    "workspaces_with_segments",
]
