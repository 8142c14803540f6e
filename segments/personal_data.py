"""Personal data of segments, for export and erasure."""

from contacts.erasure.erasures import PersonalDataSource
from segments.models import Membership, MembershipPeriod

PERSONAL_DATA = PersonalDataSource({"memberships": Membership, "stays": MembershipPeriod})
