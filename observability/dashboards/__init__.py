"""Grafana's dashboards, written in Python: `make dashboards` writes them to observability/grafana/dashboards/.

One module a dashboard; `kit.py` has what they are made of. Grafana reads the JSON files only, so they are committed,
and a test compares them with what this code makes.
"""
