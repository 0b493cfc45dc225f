"""Which archive has a delivery that is no longer here: the one whose file proves it."""

from datetime import UTC, datetime

from alerts_audit.models import Delivery
from alerts_audit.seal.archive.archive import archive
from alerts_audit.seal.proofs import prove_from_archive
from alerts_audit.selectors.episode_detail import get_archives
from alerts_audit.tests.seal.trails import Trail


def test_each_archived_delivery_is_in_the_file_that_is_named(trail: Trail):
    with trail.used():
        all_of_them = set(Delivery.objects.values_list("pk", flat=True))
        directory = trail.directory / "archives"
        for checkpoint in (1, 2):
            [(before,)] = trail.query("SELECT min(at) FROM alerts_audit_checkpoint WHERE id > %s", checkpoint)
            archive(before=before or datetime.now(UTC), directory=directory, by="ann", progress=lambda *_: None)
        here = set(Delivery.objects.values_list("pk", flat=True))
        found = get_archives(all_of_them)

        assert found.keys() == all_of_them - here
        assert len({archive.pk for archive in found.values()}) == 2
        for delivery, where in found.items():
            assert (
                prove_from_archive(directory / where.file_name, "delivery", delivery)["leaf"]["row"]["id"] == delivery
            )
