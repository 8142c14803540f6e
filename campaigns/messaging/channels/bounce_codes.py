"""Classify bounces by the wording of mail servers: SMTP replies, delivery status notifications, providers' events."""

from __future__ import annotations

import re
from typing import Final

from campaigns.messaging.channels import Bounce

# RFC 3463, class, subject and detail. Neither an IP address nor a version has one inside.
_ENHANCED: Final = re.compile(r"(?<![\d.])([45])\.([0-7])\.(\d{1,3})(?!\.?\d)")
_ALL: Final = 256
_MAX_WORDS: Final = 4_000
# Links to an explanation, and addresses: what stands in them ("?ip=", "blocked@") is not said of the mailbox.
_NOT_WORDS: Final = re.compile(
    r"https?://\S+|\bwww\.\S+|(?<![\w.])[\w.+!#$%&'*/=?^`{|}~-]{1,64}@[\w.-]{1,253}"
)

# What a class-5 status says by itself, by subject and detail (RFC 3463, RFC 7505, the IANA registry). What says
# nothing ("other") is not here: then the words decide.
_STATUS: Final[dict[tuple[int, int], Bounce | None]] = {
    # The address: no such mailbox, no such host, bad syntax, ambiguous, moved, no server for the domain.
    **dict.fromkeys([(1, 1), (1, 2), (1, 3), (1, 4), (1, 6), (1, 10)], Bounce.HARD),
    # The sender's address.
    **dict.fromkeys([(1, 7), (1, 8), (1, 9)], Bounce.REFUSED),
    # The mailbox: disabled, full, and a message too long for it.
    (2, 1): Bounce.HARD,
    (2, 2): Bounce.SOFT,
    (2, 3): Bounce.REFUSED,
    (2, 4): Bounce.REFUSED,
    # The server: full, and other faults of its own or of the message's size.
    (3, 1): Bounce.SOFT,
    **dict.fromkeys([(3, 2), (3, 3), (3, 4), (3, 5), (3, 6)], Bounce.REFUSED),
    # The protocol, the content, and policy: of no mailbox at all.
    **dict.fromkeys([(5, detail) for detail in range(1, _ALL)], Bounce.REFUSED),
    **dict.fromkeys([(6, detail) for detail in range(_ALL)], Bounce.REFUSED),
    **dict.fromkeys([(7, detail) for detail in range(_ALL)], Bounce.REFUSED),
}


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_WHO: Final = (
    r"(?:user|mail ?box|recipient|account|address(?:ee)?|alias|in-?box|person|e-?mail (?:account|address))"
)
_NOT: Final = r"(?:not|n.t)"
# About who sends or whence, whatever else it says: "Sender address rejected: user unknown".
_SENDER: Final = _any(
    r"sender'?s? (?:address|domain|verif|id\b|host|is\b|was\b|rejected|denied|unknown|not\b|policy|blocked)",
    r"verify (?:the )?sender|callout|callback|mail from|return[- ]path|envelope[- ](?:from|sender)",
    r"domain of (?:the )?sender|\bfrom address|badmailfrom|\bhelo\b|\behlo\b|client host|reverse (?:dns|address)",
    r"your (?:host|domain|server|ip\b|address|network)|\bip address",
)
_FULL: Final = _any(
    rf"{_WHO}(?: \S+| of .{{1,100}}| for .{{1,100}})? (?:is |was |has been )?(?:too )?full\b",
    r"over ?-?(?:the |his |her |their |its )?(?:\w+ )?quota|quota (?:\w+ ){0,3}(?:full|exceed|reached)",
    r"exceed\w* (?:\S+ ){0,4}(?:quota|storage|allocation|(?:mailbox|account) (?:size|limit))",
    r"(?:mailbox|storage|disk)(?: \w+){0,3} (?:exceeded|exhausted)|not enough (?:disk|storage|space)",
    r"quota violation|user has too many messages",
    r"insufficient (?:system |disk |mailbox )?(?:storage|space)",
    r"\b(?:out of|no) (?:more )?(?:disk |storage )?(?:space|storage)\b",
    rf"{_WHO} (?:is |has been )?temporarily (?:disabled|unavailable|suspended|inactive|locked)",
    r"receiving mail (?:at a rate|too quickly)|mailbox (?:is )?(?:busy|locked)",
)
_SIZE: Final = _any(r"(?:message|mail|attachment)\w* (?:\S+ ){0,4}(?:too (?:large|big|long)|size)\b")
# No doubt about these: they say who is not there, whatever else stands beside ("in relay recipient table").
_UNKNOWN: Final = _any(
    r"(?:unknown|invalid|illegal|bad|non-?existent|nonexisting|unrecogni[sz]ed|undeliverable)"
    rf" (?:local |destination |target |virtual )?(?:mailbox )?{_WHO}\b(?! syntax)|unknown local[- ]part",
    rf"{_WHO}(?: \S{{1,320}})? (?:is |was )?(?:unknown|invalid\b|no longer valid)",
    rf"{_WHO}(?: \S{{1,320}})? (?:could |is |was )?{_NOT} (?:be )?(?:known|found|valid|listed|here|local|exist)",
    rf"address you (?:entered|sent to|specified) could ?{_NOT} be found|recip(?:ient)?notfound",
    rf"(?:unable to|can(?:no|'|’)t|could ?{_NOT}) (?:find|locate) (?:the |that |this |such an? )?{_WHO}\b",
    r"\bno ?(?:one|body) (?:\w+ )?(?:at|by|with|under) th(?:is|at) (?:e-?mail )?(?:address|name)",
    rf"{_WHO}(?: \S{{1,320}})? (?:could |is |was )?{_NOT} (?:be )?recogni[sz]ed",
    rf"\b(?:no|not an?) (?:such )?(?:local |valid )?{_WHO}\b",
    rf"{_WHO}s?\b.{{0,120}}\b(?:does|do|did) ?{_NOT} exist",
    r"(?:does|do) ?n.t have an? \S+ (?:account|mailbox)|not our customer|mailbox name not allowed",
    rf"{_WHO}(?: for \S{{1,320}})? (?:is |was |has |been |now |currently )*(?:de-?activated|disabled|closed)",
    rf"{_WHO}(?: for \S{{1,320}})? (?:is |was |has |been |now |currently )*(?:terminated|deleted|removed)",
    rf"{_WHO} (?:is )?no longer available",
    rf"{_WHO} (?:is |was |has |been |now |currently )*(?:discontinued|expired|abandoned|inactive|suspended)",
    rf"(?:disabled|inactive|closed|deleted|expired|deactivated) {_WHO}\b",
    r"no longer (?:exists?|in use|active|employed|works (?:here|for|at)|with (?:us|the company)|accepts mail)",
    r"(?:host|domain)(?: or domain)?(?: name)?(?: \S{1,253})? (?:not found|does ?n[o']t exist|unknown)",
    r"no such (?:domain|host)|unrouteable|unroutable|nxdomain|null mx",
)
_POLICY: Final = _any(
    r"spam|\bbulk|\bjunk|\bvirus|malware|phish|unsolicited|\bcontent|\battachment|reputation|\babus|complain",
    r"(?:black|block|deny|gr[ea]y)[- ]?list|\brbl\b|dnsbl|spamhaus|spamcop|barracuda|proofpoint|\blisted\b",
    r"\bblock(?:ed|ing)?\b|\bbanned\b|\bprohibit|\bpolic(?:y|ies)|\bsecurity\b|\bfilter|\bfirewall|administrat",
    r"\brelay|rcpthosts|\bdmarc\b|\bspf\b|\bdkim\b|\barc\b|authenticat|authori[sz]|\bpermi(?:t|ss)|\bdenied\b",
    r"\brate\b|too (?:many|fast|much)|throttl|limit exceeded|try again|try later|temporar|timed? ?out|\bdefer",
    r"\bptr\b|\brdns\b|\bip\b|\btls\b|\bloop|message (?:too|rejected|refused|contains)|transaction failed",
    r"protocol|syntax|command",
)
# As RFC 5321 words 550, where no policy is named: servers say it of who is not there.
_UNAVAILABLE: Final = _any(
    rf"{_WHO} (?:is )?(?:unavailable|{_NOT} available|unreachable|undeliverable|rejected)",
    r"address rejected",
)
# Of Microsoft, which looks recipients up at its edge: 5.4.1 and these words are of one that is not there.
_EDGE: Final = _any(r"recipient address(?:es)? rejected ?: access denied")
_FOR_NOW: Final = re.compile(r"\W*(?:smtp;\W*)?4\d\d(?![\d.])", re.IGNORECASE)
"""A temporary failure, by the code alone."""
_NO_STORAGE: Final = re.compile(r"\W*(?:smtp;\W*)?552(?![\d.])", re.IGNORECASE)
"""The mailbox is full, by the code alone (RFC 5321, 4.2.3)."""


def diagnose(words: str) -> Bounce | None:
    """Classify a final refusal from its codes and texts, in any order; None: they do not say."""
    words = " ".join(_NOT_WORDS.sub("<>", words[:_MAX_WORDS].replace("\x00", "")).split())
    for class_, subject, detail in _ENHANCED.findall(words):
        if (bounce := _of_status(class_, int(subject), int(detail), words)) is not None:
            return bounce
    return _of_text(words)


def _of_status(class_: str, subject: int, detail: int, words: str) -> Bounce | None:
    if (subject, detail) == (0, 0):
        return None
    if class_ == "4":
        # Given up on: soft if it was the mailbox's fault. The way there, and all else, says nothing of the person.
        return Bounce.SOFT if subject in (1, 2) or _FULL.search(words) else Bounce.REFUSED
    if (subject, detail) == (2, 1) and _FULL.search(words):
        return Bounce.SOFT
    if subject == 4:
        # The way to the host: that there is none at all, only the words say.
        return Bounce.HARD if _EDGE.search(words) or _UNKNOWN.search(words) else Bounce.REFUSED
    return _STATUS.get((subject, detail))


def _of_text(words: str) -> Bounce | None:
    if _SENDER.search(words):
        return Bounce.REFUSED
    if _FULL.search(words):
        return Bounce.SOFT
    if _SIZE.search(words):
        return Bounce.REFUSED
    is_gone = _UNKNOWN.search(words) is not None
    if _POLICY.search(words) and not is_gone:
        return Bounce.REFUSED
    if is_gone or _UNAVAILABLE.search(words):
        return Bounce.SOFT if _FOR_NOW.match(words) else Bounce.HARD
    if _NO_STORAGE.match(words):
        return Bounce.SOFT
    return Bounce.REFUSED if _FOR_NOW.match(words) else None
