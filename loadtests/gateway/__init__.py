"""The gateway simulator: a separate process with an HTTP interface that replaces the acquirer.

    python -m loadtests.gateway --port 5001 --data var/gateway.sqlite3

It is idempotent by the caller's key, answers lookup and cancel by that key, and records the money that moved.
`outcomes` maps amounts to behaviour, `profile` defines the faults that can be injected at run time, `decisions` decides
about orders, `store` keeps the state, `app` is the HTTP interface. docs/gateway.md is the manual.
"""
