"""The worker's verification: new rows, and once a day everything."""

import logging
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from alerts_audit.models import Verification
from alerts_audit.seal.keys import SealError
from alerts_audit.seal.sealer import seal
from alerts_audit.seal.verify.report import EVERYTHING, Report
from alerts_audit.seal.verify.run import verify

logger = logging.getLogger("alerts_audit.seal")

FULL_EVERY = timedelta(days=1)


def verify_regularly() -> Report:
    """Verify the rows sealed since the last two turns. Verify everything if everything was not verified without
    findings within a day, or if a verification since then had findings.

    So a finding remains until everything is verified again, even if someone verifies a part without findings in
    between.
    """
    now = timezone.now()
    whole = Verification.objects.filter(at__gt=now - FULL_EVERY, covered__window=EVERYTHING).order_by("-id").first()
    since_whole = Verification.objects.filter(id__gte=whole.pk) if whole else Verification.objects.none()
    a_window_will_do = whole is not None and not since_whole.exclude(findings=[]).exists()
    with suppress(SealError):  # after an outage rows wait for their leaf; the verification reports rows that get none
        seal()
    since = now - 2 * timedelta(seconds=settings.AUDIT_VERIFY_SECONDS) if a_window_will_do else None
    report = verify(since=since)
    for finding in report.findings:
        logger.error(
            "audit_finding", extra={"code": finding.code, "subject": finding.subject, "detail": finding.detail}
        )
    return report
