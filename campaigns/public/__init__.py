"""What anybody may call: links in messages, forms on other people's pages, news of providers."""
