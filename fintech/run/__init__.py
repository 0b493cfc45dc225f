"""Everything on one machine, with one command: `python -m fintech.run` (see `make run`).

layout      files, ports, secrets, the environment of all processes
checks      obstacles found before the start: disk, ports, another run, leftovers
programs    the processes, as supervisord's configuration
monitoring  Prometheus, Alertmanager and exporters, if they are found
supervisor  supervisord itself: start, watch, restart, stop
kpis        the live line, from the same metrics that Prometheus scrapes
console     the output for the user
"""


class RunError(Exception):
    """The reason why the platform cannot run, in one sentence that names the remedy."""
