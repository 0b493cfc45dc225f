"""Grafana's dashboards, written in Python: `make dashboards` writes them to observability/grafana/dashboards/.

One module per dashboard; `kit.py` contains the shared building blocks. Grafana reads only the JSON files, so they are
committed, and a test compares them with the output of this code.
"""
