"""What segments have of a person."""

from contacts.services.erasure import PersonalData
from segments.models import Membership, Stay

PERSONAL_DATA = PersonalData({"memberships": Membership, "stays": Stay})
