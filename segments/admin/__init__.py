"""Segments for staff: the rules, how their builds do, who is in them, who was, and why."""

from segments.admin import memberships, segments
from segments.admin.base import MemberFilter, concerned_members
from segments.admin.sections import contact_segments_section

__all__ = ["MemberFilter", "concerned_members", "contact_segments_section", "memberships", "segments"]
