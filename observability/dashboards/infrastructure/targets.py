from observability.dashboards.kit import above, below, graph, listing, query, row

TARGETS = row(
    "Targets and probes",
    [
        listing(
            "Scraped targets",
            "1: the target answers Prometheus. 0: it does not.",
            query("sum by (job, instance) (up)", "up"),
            query("max by (job, instance) (scrape_duration_seconds)", "duration of a scrape"),
            units={"duration of a scrape": "s"},
            show_job=True,
        ),
        graph(
            "Targets down",
            "Number of targets per job that do not answer.",
            query("count by (job) (up == 0)", "{{job}}"),
            thresholds=above(1),
            empty="None",
        ),
    ],
    [
        graph(
            "Probes from outside",
            "1: the health check succeeds. 0: it fails.",
            query("min by (service, instance) (probe_success)", "{{service}} {{instance}}"),
            thresholds=below(1, 0.5),
        ),
        graph(
            "Certificates",
            "Time until the certificate of each probed address expires.",
            query("min by (instance) (probe_ssl_earliest_cert_expiry) - time()", "{{instance}}"),
            unit="s",
            thresholds=below(14 * 86400, 3 * 86400),
            empty="No probed address has a certificate",
        ),
    ],
)
