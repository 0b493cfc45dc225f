"""The KPIs in the rows, and how far the counters and the gateway differ from them.

rollup.py         add settled events to totals
totals.py         totals of the rows: all, of retired hosts, by epoch
gauges.py         the numbers of what is open: held amounts, disputes, unresolved payments, challenges. The metrics
                  themselves are in `payments/worker/collector.py`
scrape.py         read the counters of all hosts from their exporters
drift.py          rows minus counters: `kpi_drift`, `operation_drift`
gateway_drift.py  the gateway minus the ledger: `gateway_drift`
retirement.py     retire hosts that are gone, so that their rows are exported
"""
