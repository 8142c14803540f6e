"""What refusals say of a mailbox, in the words of the servers that are met most."""

import pytest

from campaigns.messaging.channels import Bounce
from campaigns.messaging.channels.bounce_codes import diagnose

HARD = """
550 5.1.1 <jane@example.test>: Recipient address rejected: User unknown in virtual mailbox table
550 5.1.1 <jane@example.test> User unknown; rejecting
550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 double-checking the address
550 5.2.1 The email account that you tried to reach is disabled. https://support.example/mail/?p=DisabledUser
550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient jane@example.test not found by SMTP address lookup
550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [edge.protection.test]
550 5.4.1 All recipient addresses rejected : Access denied
550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)
550 Requested action not taken: mailbox unavailable
550 No such user here
550 no such user
550 No Such User Here"
550 User unknown
550 Unknown user
550 Unknown recipient
550 unknown user account
550 <jane@example.test>: User unknown in relay recipient table
550 Recipient address rejected: User unknown in local recipient table
550 Invalid recipient <jane@example.test>
550 Mailbox not found
550 mailbox does not exist
550 Account jane@example.test doesn't exist
550 This account does not exist
550 user jane does not exist
550 sorry, no mailbox here by that name. (#5.1.1)
550 #5.1.0 Address rejected.
550 5.1.0 Address rejected
550 Address unknown
550 Account has been disabled
550 account inactive
550 Mailbox disabled, not accepting messages
550 not our customer
550 Unrouteable address
550 The recipient no longer exists
550 5.0.0 jane... User unknown
551 User not local; please try <jane@other.test>
551 no such user
552 1 Requested mail action aborted, mailbox not found
553 5.3.0 <jane@example.test>... No such user here
553 sorry, no such mailbox
553 mailbox name not allowed
554 delivery error: dd This user doesn't have a example.test account (jane@example.test) [0] - mta.test
554 delivery error: dd Requested mail action aborted, mailbox not found
554 No such recipient
554 5.4.4 Host or domain name not found. Name service error for name=example.invalid type=AAAA: Host not found
550 5.4.310 DNS domain example.invalid does not exist
556 5.1.10 recipient domain does not accept mail (nullMX)
5.1.1 smtp; 550 5.1.1 <jane@example.test>: Recipient address rejected
5.0.0 smtp; 550 user unknown
5.1.6 mailbox has moved
550 Requested action not taken: mailbox unavailable For explanation visit https://postmaster.test/errors?ip=192.0.2.1
550 <blocked.policy@example.test>: mailbox unavailable
550 The email address you entered couldn't be found. Please check the recipient's address
550 Unable to find recipient
550 User not exist
550 Bad destination mailbox address
550 Illegal user
550 Mailbox for jane@example.test is disabled
550 This mailbox is no longer available
550 unknown local part jane in <jane@example.test>
550 There is no one at this address
550 RESOLVER.ADR.RecipNotFound
"""
SOFT = """
552 5.2.2 Mailbox full
452 4.2.2 The email account that you tried to reach is over quota
552-5.2.2 The email account that you tried to reach is over quota and inactive
550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents delivery
552 Requested mail action aborted: exceeded storage allocation
552 Mailbox full
550 Mailbox is full
550 jane's mailbox is full
550 Quota exceeded
550 user over quota
554 mailbox quota exceeded
550 User jane has exceeded their storage quota
452 insufficient system storage
552 Message would exceed quota for jane@example.test
550 Account temporarily disabled
5.2.2 smtp; 550 5.2.2 STOREDRV.Deliver: mailbox full. The following information should help
4.2.2 smtp; 452 mailbox full
450 4.2.1 mailbox temporarily unavailable
450 mailbox unavailable
5.3.1 mail system full
552 full
552 5.0.0 smtp; 552
552 Quota violation for jane@example.test
550 user has too many messages on the server
"""
REFUSED = """
550 5.7.1 Our system has detected that this message is likely unsolicited mail
550 5.7.26 This mail is unauthenticated, which poses a security risk. DMARC policy of example.test
550 5.7.1 Unauthenticated email from ours.test is not accepted due to domain's DMARC policy
550 5.7.1 relaying denied
554 5.7.1 <jane@example.test>: Relay access denied
554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.dnsbl.test
550 5.7.606 Access denied, banned sending IP [192.0.2.1]
550 5.7.1 user unknown or blocked by policy
550 5.7.0 Message blocked
550 5.1.8 <us@ours.test>: Sender address rejected: Domain not found
550 5.1.7 bad sender
553 5.1.8 Domain of sender address us@ours.test does not exist
550 Sender verify failed: no such user
550 Sender address rejected: user unknown
550 Verification failed for <us@ours.test> No Such User Here: Sender verify failed
550 Helo command rejected: Host not found
550 Client host rejected: cannot find your reverse hostname
550 Message rejected as spam
550 spam detected
550 Blocked by Spamhaus
550 Mailbox unavailable: blocked using a blocklist
550 Rejected by policy
550 administrative prohibition
550 relay not permitted
550 Recipient address rejected: Access denied
550 Recipient address rejected: Greylisted, try again later
550 authentication required
550 Your IP address is not allowed
551 Relay denied
552 Message size exceeds fixed limit
552 5.3.4 Message too big for system
552 5.2.3 message exceeds the mailbox's maximum size
553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)
553 sorry, that domain isn't in my list of allowed rcpthosts
553 sorry, your envelope sender is in my badmailfrom list
554 Transaction failed
554 Message contains a virus
554 5.6.0 content rejected
554 Message not allowed - [PH01] Email not accepted for policy reasons
554 rejected due to DMARC policy
554 content rejected
554 too many recipients
550 5.4.6 routing loop detected
451 4.7.1 Greylisting in action, please come back later
451 Greylisted
421 4.7.0 try again later
4.4.7 smtp; 421 delivery time expired
4.4.1 connection timed out
550 5.5.1 Protocol error
"""
SILENT = """
550 no
554
550 Rejected
550 5.0.0
bounced
"""


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        *((line, Bounce.HARD) for line in lines(HARD)),
        *((line, Bounce.SOFT) for line in lines(SOFT)),
        *((line, Bounce.REFUSED) for line in lines(REFUSED)),
        *((line, None) for line in lines(SILENT)),
    ],
)
def test_bounce_wording_is_classified(words, kind):
    assert diagnose(words) is kind


@pytest.mark.parametrize(
    "words", ["host 5.1.1.10 said: 550 no", "Exim 4.94.2: 550 no", "mx 15.1.1 (15.1.1.2): 550 no"]
)
def test_an_address_or_a_version_is_no_status(words):
    assert diagnose(words) is None


def test_classifying_long_texts_is_fast():
    for words in ("mailbox " * 2_000, "user x" * 3_000, "domain " + "a" * 20_000, "5.1." * 5_000):
        diagnose(words[:10_000])
