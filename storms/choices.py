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


class AuditAction(models.TextChoices):
    """What the audit tells of. The model names no choices, so a new one needs no migration."""

    LOGGED_IN = "login", "Logged in"
    LOGGED_OUT = "logout", "Logged out"
    LOGIN_FAILED = "login.failed", "Login failed"
    STORM_ACKNOWLEDGED = "storm.acknowledged", "Storm acknowledged"
    STORM_ASSIGNED = "storm.assigned", "Storm assigned"
    STORM_NOTED = "storm.noted", "Note on a storm"
    STORM_CLOSED = "storm.closed", "Storm closed"
    STORM_MERGED = "storm.merged", "Storm merged"
    ALERT_SPLIT = "alert.split", "Alert split out"
    POLICY_CREATED = "policy.created", "Policy created"
    POLICY_EDITED = "policy.edited", "Policy edited"
    POLICY_RESTORED = "policy.restored", "Policy restored"
    POLICY_DELETED = "policy.deleted", "Policy deleted"
    RULE_CREATED = "rule.created", "Rule created"
    RULE_EDITED = "rule.edited", "Rule edited"
    RULE_DELETED = "rule.deleted", "Rule deleted"
    RECEIVER_CREATED = "receiver.created", "Receiver created"
    RECEIVER_EDITED = "receiver.edited", "Receiver edited"
    RECEIVER_DELETED = "receiver.deleted", "Receiver deleted"
    RECEIVER_TOKEN_ROTATED = "receiver.token_rotated", "Receiver's token rotated"
    RECEIVER_TOKEN_REVOKED = "receiver.token_revoked", "Receiver's old token revoked"
    SILENCE_CREATED = "silence.created", "Silence created"
    SILENCE_ENDED = "silence.ended", "Silence ended"
    API_TOKEN_CREATED = "api_token.created", "API token created"
    API_TOKEN_ROTATED = "api_token.rotated", "API token rotated"
    API_TOKEN_REVOKED = "api_token.revoked", "API token revoked"
    SYNC_RETRIED = "sync.retried", "Sync retried at once"
    LEDGER_COUNTED = "ledger.counted", "Ledger counted at once"
    DEAD_LETTER_REPLAYED = "dead_letter.replayed", "Dead letters replayed"
    DEAD_LETTER_DISCARDED = "dead_letter.discarded", "Dead letters discarded"
    RECONCILED = "reconcile.requested", "Reconciliation requested"
    FILTER_SHARED = "filter.shared", "Saved filter shared"
    FILTER_UNSHARED = "filter.unshared", "Saved filter no longer shared"
    ACCESS_CREATED = "access.created", "User or group created"
    ACCESS_EDITED = "access.edited", "User or group edited"
    ACCESS_DELETED = "access.deleted", "User or group deleted"
    PASSWORD_CHANGED = "password.changed", "Password changed"
