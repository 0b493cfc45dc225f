"""`python -m loadtests.run --base-url http://localhost:5000 --rps 12 --duration 180 --workers 30`."""

import os
import sys
from argparse import Namespace

from loadtests.run import LoadTestError, options, preflight


def prepare(chosen: Namespace) -> None:
    """Check everything that can be checked without a load, and hand the key over to the merchants."""
    key = preflight.read_key(chosen.api_key_file)
    preflight.check_target(chosen.base_url, key, chosen.api_key_file)
    preflight.check_output(chosen.output)
    os.environ.pop("API_KEY_FILE", None)
    os.environ["API_KEY"] = key


def main() -> int:
    chosen = options.parse()
    try:
        prepare(chosen)
        # Locust patches the standard library when it is imported, and its users need the key.
        from loadtests.run.session import run

        return run(chosen)
    except LoadTestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
