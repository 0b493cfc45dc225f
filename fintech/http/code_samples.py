"""Examples in curl, Python and JavaScript beside each operation of the OpenAPI document (`x-codeSamples`).

All three are made from the operation itself: its path, its headers, and the first example of its body. So they cannot
differ from each other, nor from the document. `code_samples.js` shows them on the page.
"""

import json
import shlex
from collections.abc import Callable
from pprint import pformat
from typing import Any

# The id of any object, in paths and in bodies.
EXAMPLE_ID = "019aab3c-5b7e-7c3e-9d0e-2f4b6a8c0e12"
# The variable of the environment with the token of each security scheme.
TOKENS = {"apiKey": "PAYMENTS_API_KEY"}
OTHER_TOKEN = "ALERTS_TOKEN"  # noqa: S105 - the name of a variable

Operation = dict[str, Any]


def add_code_samples(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add the examples, as the last hook of drf-spectacular."""
    for path, methods in result["paths"].items():
        for method, operation in methods.items():
            operation["x-codeSamples"] = [
                {"lang": language, "label": label, "source": write(method.upper(), path, operation)}
                for language, label, write in LANGUAGES
            ]
    return result


def write_curl(method: str, path: str, operation: Operation) -> str:
    lines = [f'curl --silent --show-error --fail-with-body "$PAYMENTS_URL{_address(path, operation)}"']
    body = example_body(operation)
    if method != ("GET" if body is None else "POST"):
        lines.append(f"--request {method}")
    lines.append(f'--header "Authorization: Bearer ${_token(operation)}"')
    if _needs_key(operation):
        lines.append('--header "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)"')
    if body is not None:
        lines += ['--header "Content-Type: application/json"', f"--data {shlex.quote(json.dumps(body))}"]
    return " \\\n    ".join(lines) + "\n"


def write_python(method: str, path: str, operation: Operation) -> str:
    body = example_body(operation)
    headers = [f'"Authorization": f"Bearer {{os.environ[\'{_token(operation)}\']}}"']
    if _needs_key(operation):
        headers.append('"Idempotency-Key": str(uuid.uuid4())')
    call = [
        f'os.environ["PAYMENTS_URL"] + "{_address(path, operation)}",',
        f"headers={{{', '.join(headers)}}},",
        *([] if body is None else [f"json={_indented(_python_literal(body))},"]),
    ]
    imports = ["import os", *(["import uuid"] if _needs_key(operation) else []), "", "import httpx", ""]
    lines = [*imports, f"response = httpx.{method.lower()}(", *(f"    {line}" for line in call), ")"]
    return "\n".join([*lines, "response.raise_for_status()", "print(response.text)"]) + "\n"


def write_javascript(method: str, path: str, operation: Operation) -> str:
    body = example_body(operation)
    headers = [f"Authorization: `Bearer ${{process.env.{_token(operation)}}}`,"]
    if _needs_key(operation):
        headers.append('"Idempotency-Key": crypto.randomUUID(),')
    if body is not None:
        headers.append('"Content-Type": "application/json",')
    lines = [
        f'const response = await fetch(process.env.PAYMENTS_URL + "{_address(path, operation)}", {{',
        *([] if method == "GET" else [f'  method: "{method}",']),
        "  headers: {",
        *(f"    {header}" for header in headers),
        "  },",
        *([] if body is None else [f"  body: JSON.stringify({_indented(json.dumps(body, indent=2), 2)}),"]),
        "});",
        "if (!response.ok) throw new Error(await response.text());",
        "console.log(await response.text());",
    ]
    return "\n".join(lines) + "\n"


LANGUAGES: tuple[tuple[str, str, Callable[[str, str, Operation], str]], ...] = (
    ("shell", "curl", write_curl),
    ("python", "Python", write_python),
    ("javascript", "JavaScript", write_javascript),
)


def example_body(operation: Operation) -> Any:
    """Return the first example of the body, or None if there is no body. Raises LookupError if it has no example."""
    if "requestBody" not in operation:
        return None
    content = operation["requestBody"]["content"]["application/json"]
    return next(iter(content["examples"].values()))["value"]


def _address(path: str, operation: Operation) -> str:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            is_number = parameter["schema"].get("type") == "integer"
            path = path.replace(f"{{{parameter['name']}}}", "1" if is_number else EXAMPLE_ID)
    return path


def _needs_key(operation: Operation) -> bool:
    return any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))


def _token(operation: Operation) -> str:
    schemes = [name for scheme in operation["security"] for name in scheme]
    return next((TOKENS[name] for name in schemes if name in TOKENS), OTHER_TOKEN)


def _python_literal(body: Any) -> str:
    return pformat(body, width=100, sort_dicts=False).replace("'", '"')


def _indented(text: str, spaces: int = 4) -> str:
    return text.replace("\n", "\n" + " " * spaces)
