"""The alert trail for people: to read, to review, and nothing else. Each file registers the pages of one subject."""

from alerts_audit.admin import deliveries

__all__ = ["deliveries"]
