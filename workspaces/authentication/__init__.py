"""Authentication: API keys, OAuth tokens, JWTs, sessions and sign-in."""
