"""Near-duplicates among the images of a folder, and how much they leak between the parts of a split."""

from hybrid_attention.audit.audit_folder import AuditResult, audit

__all__ = ["AuditResult", "audit"]
