"""Grafana's dashboards, written in Python: `make dashboards` writes them to observability/grafana/dashboards/.

A panel is found by its dashboard and its row: `finance/disputes.py` is the row `Disputes` of the dashboard `Finance
overview`. A small dashboard is one module. `kit` contains the shared building blocks. Grafana reads only the JSON
files, so they are committed, and a test compares them with the output of this code.
"""
