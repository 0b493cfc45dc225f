"""Everything on one machine, with one command: `python -m fintech.run` (see `make run`).

layout.py        files, secrets, the environment of all processes
ports.py         the usual ports, or ten from BASE_PORT
environment.py   the variables of the caller that our programs accept
venv.py          the virtual environment, created and updated with the pins
checks.py        obstacles found before the start: disk, ports, another run, leftovers
postgres.py      the embedded PostgreSQL server
programs.py      the processes, as supervisord's configuration
monitoring.py    Prometheus, Alertmanager and exporters, if they are found
supervisor.py    supervisord itself: start, watch, restart, stop
interruption.py  Ctrl-C and the signals that mean the same
kpis.py          the live line, from the same metrics that Prometheus scrapes
console.py       the output for the user
manage.py        commands of Django with the settings of this run, such as `make audit`
backup.py        `make backup` and `make restore`
"""


class RunError(Exception):
    """The reason why the platform cannot run, in one sentence that names the remedy."""
