"""The gateway simulator: stands for the acquirer, in a process of its own, speaking HTTP.

    python -m loadtests.gateway --port 5001 --data var/gateway.sqlite3

It is idempotent by the caller's key, answers lookup and cancel by that key, and keeps a record of the money
that it really moved. `outcomes` says which amounts provoke which behaviour, `profile` which faults can be
switched on while it runs, `store` what it remembers, `app` how it answers. docs/gateway.md is the manual.
"""
