from observability.dashboards.infrastructure.shared import HOST
from observability.dashboards.kit import above, graph, query, row

DISK = f'{HOST}, fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660", mountpoint!~"/(etc|proc|sys|run|dev)/.*"'

DISKS = row(
    "Disks",
    [
        graph(
            "Disk space used",
            "Share of the space of each file system.",
            query(
                f"1 - min by (instance, device) (node_filesystem_avail_bytes{{{DISK}}})"
                f" / max by (instance, device) (node_filesystem_size_bytes{{{DISK}}})",
                "{{device}} {{instance}}",
            ),
            unit="percentunit",
            thresholds=above(0.8, 0.9),
        ),
        graph(
            "Inodes used",
            "Share of the inodes of each file system.",
            query(
                f"1 - min by (instance, device) (node_filesystem_files_free{{{DISK}}})"
                f" / (max by (instance, device) (node_filesystem_files{{{DISK}}}) > 0)",
                "{{device}} {{instance}}",
            ),
            unit="percentunit",
            thresholds=above(0.8, 0.9),
        ),
        graph(
            "Disk utilisation",
            "Share of time that each disk was busy.",
            query(f"rate(node_disk_io_time_seconds_total{{{HOST}}}[$__rate_interval])", "{{device}} {{instance}}"),
            unit="percentunit",
            thresholds=above(0.8, 0.95),
        ),
    ],
)
