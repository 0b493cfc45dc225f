"""The signed Merkle log over the evidence (RFC 6962 hashing, Ed25519, signed-note checkpoints)."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.db.models.lookups import Exact

from alerts_audit.models.deliveries import OctetLength


class Leaf(models.Model):
    """A row of evidence in the log. Leaves are numbered from 0 without holes."""

    class Kind(models.TextChoices):
        DELIVERY = "delivery"
        OBSERVATION = "observation"
        INPUT = "input"
        REVIEW = "review"
        GAP = "gap"
        VIEW = "view"
        ARCHIVE = "archive"

    number = models.BigIntegerField(primary_key=True)
    kind = models.CharField(max_length=32)  # of Kind, or a table of another app (fintech/evidence.py)
    ref = models.BigIntegerField(help_text="The row's key.")
    hash = models.BinaryField(help_text="SHA-256 of 0x00 and the row in canonical form.")

    class Meta:
        ordering = ["-number"]
        verbose_name_plural = "leaves"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["kind", "ref"], name="leaf_once"),
            models.CheckConstraint(condition=Q(number__gte=0), name="leaf_number"),
            models.CheckConstraint(condition=Exact(OctetLength("hash"), 32), name="leaf_hash_length"),
        ]

    def __str__(self) -> str:
        return f"leaf {self.number}"


class Checkpoint(models.Model):
    """A signed statement of the number of leaves, their root and the time. `note` is the published form."""

    size = models.BigIntegerField()
    root = models.BinaryField()
    at = models.DateTimeField()
    key_id = models.TextField(help_text="The first four bytes of the key's hash, in hexadecimal.")
    public_key = models.TextField(null=True, help_text="The key itself; NULL in rows older than this column.")
    note = models.TextField()
    # The roots of the complete subtrees, largest first: the next root is computed from these and the new leaves.
    frontier = ArrayField(models.BinaryField())
    # For each kind of leaf the key up to which no further row can appear (alerts_audit/seal/horizon.py).
    settled = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["size"], name="checkpoint_size")]
        constraints = [models.CheckConstraint(condition=Exact(OctetLength("root"), 32), name="checkpoint_root_length")]

    def __str__(self) -> str:
        return f"checkpoint {self.pk} of {self.size} leaves"


class Archive(models.Model):
    """A sealed range that was exported, verified and deleted, as a signed checkpoint says (seal/archive/).

    `carried` is the state from which a rebuild of the projection then begins.
    """

    first_leaf = models.BigIntegerField()
    end_leaf = models.BigIntegerField(help_text="The first leaf after it: the size of a checkpoint.")
    last_input = models.BigIntegerField()
    file_name = models.TextField()
    file_sha256 = models.BinaryField()
    carried = models.JSONField()
    kept = models.JSONField(default=list, help_text="Number and hash of the leaves below its end that were kept.")
    by = models.TextField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"archive of leaves {self.first_leaf} to {self.end_leaf - 1}"


class Verification(models.Model):
    """A run of `verify_audit`: its covered range and its findings."""

    at = models.DateTimeField(db_default=Now())
    seconds = models.FloatField()
    tree_size = models.BigIntegerField()
    covered = models.JSONField()
    findings = models.JSONField()

    class Meta:
        ordering = ["-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"verification {self.pk}"

    @property
    def ok(self) -> bool:
        return not self.findings
