"""`make bench`: throughput of payments in comparison with other stacks, in one interleaved run on one machine."""
