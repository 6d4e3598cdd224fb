"""Choice classes: the words of the domain, each with its label (pure but for Django's choices)."""

from django.db import models


class Outcome(models.TextChoices):
    """What was answered for one received alert (design, section 4)."""

    STORM_OPENED = "storm_opened", "Storm opened"
    INDIVIDUAL = "individual", "Individual"
    AGGREGATED = "aggregated", "Aggregated"
    HELD = "held", "Held"
    DUPLICATE = "duplicate", "Duplicate"
    RESOLVED = "resolved", "Resolved"
    SILENCED = "silenced", "Silenced"
    DEFERRED = "deferred", "Deferred"
    REJECTED = "rejected", "Rejected"


class AlertStatus(models.TextChoices):
    FIRING = "firing", "Firing"
    RESOLVED = "resolved", "Resolved"


class Disposition(models.TextChoices):
    """Where an alert episode stands now; its outcome is what was answered when it came in."""

    DEFERRED = "deferred", "Deferred: waits for the store"
    HELD = "held", "Held: waits for a storm or its release"
    MEMBER = "member", "Member of a storm"
    INDIVIDUAL = "individual", "Has its own RemediationRequest"
    RESOLVED_WHILE_HELD = "resolved_while_held", "Resolved while held: nothing was made"
    RESOLVED_UNSEEN = "resolved_unseen", "Resolved, never seen firing"
    SILENCED = "silenced", "Silenced"


class Severity(models.TextChoices):
    CRITICAL = "critical", "Critical"
    WARNING = "warning", "Warning"
    INFO = "info", "Info"


class Priority(models.TextChoices):
    """How soon somebody must look, P0 first."""

    P0 = "P0", "P0"
    P1 = "P1", "P1"
    P2 = "P2", "P2"
    P3 = "P3", "P3"


class StormState(models.TextChoices):
    OPEN = "open", "Open"
    CLOSED = "closed", "Closed"


class CloseReason(models.TextChoices):
    QUIET = "quiet", "Quiet: no new alert"
    RESOLVED = "resolved", "Every alert resolved"
    MAX_DURATION = "max_duration", "Maximum duration reached"
    OPERATOR = "operator", "Closed by an operator"
    MERGED = "merged", "Merged into another storm"


class RequestKind(models.TextChoices):
    ALERT = "alert", "Alert"
    STORM = "storm", "Storm"


class SyncState(models.TextChoices):
    """How far the cluster has followed a RemediationRequest's row."""

    PENDING = "pending", "Pending"
    APPLIED = "applied", "Applied"
    FAILED = "failed", "Failed, will be retried"
    REJECTED = "rejected", "Rejected by the cluster"
    SKIPPED = "skipped", "Skipped: absorbed before it was made"
    COLLECTED = "collected", "Deleted by garbage collection"


class Phase(models.TextChoices):
    """The remediation operator's word, `status.phase`; the console only watches it."""

    PENDING = "Pending", "Pending"
    PROCESSING = "Processing", "Processing"
    COMPLETED = "Completed", "Completed"
    FAILED = "Failed", "Failed"
    CANCELLED = "Cancelled", "Cancelled"


class EventKind(models.TextChoices):
    OPENED = "opened", "Opened"
    APPLIED = "applied", "RemediationRequest applied"
    SYNC_FAILED = "sync_failed", "Sync failed"
    SEVERITY_RAISED = "severity_raised", "Severity raised"
    PHASE_CHANGED = "phase_changed", "Phase changed"
    DRIFT = "drift", "Drift corrected"
    CLOSED = "closed", "Closed"
    SETTLED = "settled", "Last alert resolved"
    REOPENED = "reopened", "Reopened"
    DOUBLED = "doubled", "Count doubled"
    SPREAD = "spread", "Reached another namespace or cluster"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    ASSIGNED = "assigned", "Assigned"
    NOTE = "note", "Note"
    SPLIT = "split", "Alert split out"
    MERGED = "merged", "Merged"
    COLLECTED = "collected", "Resource deleted by garbage collection"
