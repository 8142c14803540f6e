"""What segments have of a person."""

from contacts.erasure.erasures import PersonalDataSource
from segments.models import Membership, MembershipPeriod

PERSONAL_DATA = PersonalDataSource({"memberships": Membership, "stays": MembershipPeriod})
