"""Sign-up forms on other sites and what is submitted through them."""
