"""A stand-in for Slack's incoming webhooks, over TLS and under Slack's own host name."""
