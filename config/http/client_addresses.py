"""Who calls: the address of a client, also behind proxies of ours."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

# Some proxies add the port that they saw.
_WITH_PORT = re.compile(r"\[(?P<six>[^]]+)\](?::\d+)?|(?P<four>[\d.]+):\d+")


def client_address(request: HttpRequest) -> str:
    """Return the address that the outermost of our proxies saw: what stands before it, any client may have told.

    Of IPv6 the network, in which one subscriber has as many addresses as they like.
    """
    text = _forwarded_address(request)
    address = _read(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return text if address is None else str(address)


def logged_address(request: HttpRequest) -> str:
    """Return the whole address for the log; `unknown` where a proxy of ours told something else."""
    return str(_read(_forwarded_address(request)) or "unknown")


def _forwarded_address(request: HttpRequest) -> str:
    direct: str = request.META.get("REMOTE_ADDR", "")
    proxies: int = settings.PROXY_COUNT
    told = [one.strip() for one in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if one.strip()]
    return told[-proxies] if 0 < proxies <= len(told) else direct


def _read(text: str) -> IPv4Address | IPv6Address | None:
    match = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address((match["six"] or match["four"]) if match else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
