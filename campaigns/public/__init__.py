"""Public endpoints: links in messages, forms on other sites, webhooks of e-mail providers and Telegram.

`urls` is the front door; no route here needs a credential, but a signed token or a shared secret.
"""
