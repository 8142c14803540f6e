"""When the background has something to do for access; SQL of scalars, for `settings.SCHEDULE`."""

from django.conf import settings


def expired_tokens() -> str:
    """When the first sign-in by JWT is over."""
    return "SELECT min(expires_at) FROM workspaces_tokenfamily"


def ended_sign_ins() -> str:
    """When the first session of a browser, or token of an OAuth client, is over; as oauth2_provider reckons it."""
    seconds = settings.OAUTH2_PROVIDER["REFRESH_TOKEN_EXPIRE_SECONDS"]
    return f"""
        SELECT min(over_at) FROM (
            SELECT min(expire_date) FROM django_session
            UNION ALL SELECT min(expires) FROM oauth2_provider_grant
            UNION ALL SELECT min(expires) FROM oauth2_provider_accesstoken access WHERE NOT EXISTS (
                SELECT FROM oauth2_provider_refreshtoken WHERE access_token_id = access.id
            )
            UNION ALL SELECT min(COALESCE(refresh.revoked, access.expires)) + interval '{seconds} s'
            FROM oauth2_provider_refreshtoken refresh
            LEFT JOIN oauth2_provider_accesstoken access ON access.id = refresh.access_token_id
        ) first (over_at)
    """
