"""Near-duplicates among the images of a folder, and how much of a split they leak."""

from hybrid_attention.audit.audit import AuditResult, audit

__all__ = ["AuditResult", "audit"]
