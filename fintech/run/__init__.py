"""Everything on one machine, with one command: `python -m fintech.run` (see `make run`).

layout      where things are: files, ports, secrets, the environment of all processes
checks      what could stop a start, found before anything is started: disk, ports, another run, leftovers
programs    which processes there are, as supervisord's configuration
monitoring  which of them watch: Prometheus, Alertmanager and exporters, where they are found
processes   supervisord itself: start, watch, restart, stop
kpis        the live line, from the same metrics that Prometheus scrapes
console     what the person in front of it sees
tools       `make tools`: Prometheus, Alertmanager and exporters without installing them
"""


class RunError(Exception):
    """What keeps the platform from running, in one sentence that says what to do."""
