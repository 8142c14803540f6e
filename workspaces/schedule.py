"""When the background has something to do for access; SQL of scalars, for `settings.SCHEDULE`."""


def expired_tokens() -> str:
    """When the first sign-in by JWT is over."""
    return "SELECT min(expires_at) FROM workspaces_tokenfamily"
