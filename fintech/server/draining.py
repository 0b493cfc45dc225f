"""Leave a load balancer before a stop: while the file `draining` exists in RUNTIME_DIR, /ready answers 503.

Kubernetes' `preStop` creates it, some seconds before it stops the process (deploy/kubernetes/base/web.yaml). On a host,
`touch` it before `systemctl stop`.
"""

from pathlib import Path

from fintech import env


def mark() -> Path:
    return env.runtime_dir() / "draining"


def is_draining() -> bool:
    return mark().exists()


def forget() -> None:
    """Serve again: the file of a stopped process is not about the one that starts."""
    mark().unlink(missing_ok=True)
