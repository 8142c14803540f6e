"""The client's IP address, also behind trusted proxies."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

# Some proxies append the port.
_WITH_PORT = re.compile(r"\[(?P<six>[^]]+)\](?::\d+)?|(?P<four>[\d.]+):\d+")


def client_address(request: HttpRequest) -> str:
    """Return the address that the outermost of PROXY_COUNT proxies saw; earlier ones can be forged.

    For IPv6 it is the /64 network, within which one subscriber chooses addresses freely.
    """
    text = _forwarded_address(request)
    address = _read(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return text if address is None else str(address)


def logged_address(request: HttpRequest) -> str:
    """Return the full address for the log, or `unknown` where a trusted proxy sent no address."""
    return str(_read(_forwarded_address(request)) or "unknown")


def _forwarded_address(request: HttpRequest) -> str:
    direct: str = request.META.get("REMOTE_ADDR", "")
    proxies: int = settings.PROXY_COUNT
    header = request.META.get("HTTP_X_FORWARDED_FOR", "")
    forwarded = [address.strip() for address in header.split(",") if address.strip()]
    return forwarded[-proxies] if 0 < proxies <= len(forwarded) else direct


def _read(text: str) -> IPv4Address | IPv6Address | None:
    match = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address((match["six"] or match["four"]) if match else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
