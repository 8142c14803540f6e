"""Who is calling: API keys, OAuth tokens, JWTs, sessions and sign-in."""
