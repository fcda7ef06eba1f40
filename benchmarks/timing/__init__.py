"""Whether the time that a refusal takes tells why."""
