"""docs/ledger.md and docs/design.md say what the tables of postings and states say."""

import re
from pathlib import Path

from payments.ledger.postings import ACCOUNTS, POSTINGS, Leg, legs_of
from payments.states import CAPTURE, CHARGE, DISPUTE, LIFECYCLES, REFUND

DOCS = Path(__file__).resolve().parents[3] / "docs"
NOUNS = {
    CHARGE.success: "a payment",
    CAPTURE.success: "a capture",
    REFUND.success: "a refund",
    DISPUTE.event_kind("opened"): "a dispute",
    DISPUTE.event_kind("won"): "a won dispute",
    DISPUTE.event_kind("lost"): "a lost dispute",
}
PARTS = {(1, 0): "the amount", (1, -1): "the amount less our fee", (0, 1): "our fee"}
PARTS_OF_DISPUTES = {(1, 0): "the amount", (1, 1): "the amount and its fee", (0, 1): "its fee"}


def rows(document: str, header: str) -> list[list[str]]:
    text = (DOCS / document).read_text()
    table = text[text.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def side(account: str, sign: int) -> str:
    """Return the cell of the table of accounts: what is debited (1) or credited (-1)."""

    def part(kind: str, leg: Leg) -> str | None:
        parts = PARTS_OF_DISPUTES if kind.startswith(DISPUTE.event_prefix) else PARTS
        return parts.get((sign * leg.amount, sign * leg.fee))

    found = [
        (NOUNS[kind], part(kind, leg)) for kind, legs in POSTINGS.items() for leg in legs if leg.account == account
    ]
    return ", ".join(f"{noun}: {text}" for noun, text in found if text)


def test_the_accounts_are_posted_as_documented():
    documented = {row[0].strip("`"): (row[2], row[3]) for row in rows("ledger.md", "| account | balance |")}

    assert documented == {account: (side(account, 1), side(account, -1)) for account in ACCOUNTS}


def test_the_example_is_right():
    example = rows("ledger.md", "| event | account | amount |")
    kinds = [kind.strip("`") for kind, _, _ in example if kind]
    legs = [(account.strip("`"), int(amount)) for _, account, amount in example]

    assert kinds == [CHARGE.success, REFUND.success]
    assert legs == [*legs_of(CHARGE.success, amount=1250, fee=19), *legs_of(REFUND.success, amount=400)]


def test_the_states_are_those_of_the_document():
    documented: dict[str, dict[str, list[str]]] = {}
    operation = ""
    for name, state, following in rows("design.md", "| operation or dispute | state | next |"):
        operation = name or operation
        documented.setdefault(operation, {})[state.strip("`")] = re.findall(r"`(\w+)`", following)

    assert documented == {
        name: {
            "created as": list(lifecycle.initial),
            **{state: list(steps) for state, steps in lifecycle.steps.items()},
        }
        for name, lifecycle in LIFECYCLES.items()
    }


def diagram() -> str:
    """Return the states and steps as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for lifecycle in LIFECYCLES.values():
        name = lifecycle.operation
        lines.append(f"    state {name} {{")
        lines += [f"        [*] --> {name}_{status}" for status in lifecycle.initial]
        lines += [
            f"        {name}_{status} --> {name}_{following}"
            for status, steps in lifecycle.steps.items()
            for following in steps
        ]
        lines += [f"        {name}_{status} --> [*]" for status in lifecycle.final]
        lines += [f"        {name}_{status}: {status}" for status in lifecycle.states]
        lines.append("    }")
    return "\n".join(lines)


def test_the_diagram_has_the_steps_of_the_table_and_no_other():
    text = (DOCS / "design.md").read_text()

    assert re.findall(r"```mermaid\n(.*?)\n```", text, re.DOTALL).count(diagram()) == 1
