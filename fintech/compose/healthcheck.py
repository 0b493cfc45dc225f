"""`python -m fintech.compose.healthcheck 5000 /health`: check that a port of this container answers 200."""

import http.client
import sys

SECONDS = 3.0


def problem(port: int, path: str) -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"port {port}: {type(error).__name__}: {error}"
    finally:
        connection.close()
    return None if status == 200 else f"port {port}: GET {path} answers {status}"


if __name__ == "__main__":
    sys.exit(problem(int(sys.argv[1]), sys.argv[2]))
