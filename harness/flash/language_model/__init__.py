"""A language model that generates while its feed-forward weights lie in flash."""
