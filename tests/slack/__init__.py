"""A stand-in for Slack: what its incoming webhooks take, over TLS, at the name that is called."""
