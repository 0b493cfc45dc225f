from observability.dashboards.kit import above, graph, query, row

SEAL = row(
    "Seal",
    [
        graph(
            "Size of the log",
            "Leaves of the Merkle tree: deliveries, inputs, reviews, gaps and views. The log is append-only.",
            query("max(audit_tree_size)", "leaves"),
        ),
        graph(
            "Not sealed yet",
            "Rows that no signed checkpoint covers yet.",
            query("max(audit_unsealed_leaves)", "leaves"),
            thresholds=above(10_000, 100_000),
        ),
        graph(
            "Age of the seal and of the verification",
            "Time since the last checkpoint, and since the last verification without findings.",
            query("time() - max(audit_last_seal_timestamp_seconds > 0)", "seal"),
            query("time() - max(audit_last_verification_timestamp_seconds > 0)", "verification"),
            unit="s",
        ),
    ],
)
