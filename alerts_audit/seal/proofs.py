"""Proofs that one row of evidence is in the sealed log, checked by `standalone.py`."""

from pathlib import Path
from typing import Any

from alerts_audit.models import Archive, Checkpoint, Leaf
from alerts_audit.seal.archive import files
from alerts_audit.seal.canonical import KINDS
from alerts_audit.seal.merkle import Frontier, Nodes, consistency_proof, inclusion_proof, known_nodes
from alerts_audit.seal.standalone import PROOF_FORMAT, Invalid, encode, leaf_hash, root_from_path
from fintech.database.sql import fetch_one


class NoProof(Exception):
    """The reason why there is no proof, in one sentence."""


def prove(kind_name: str, ref: int, *, size: int | None = None) -> dict[str, Any]:
    """Return the proof of a row as JSON data, in the first checkpoint that covers it.

    `size`: for a reader who holds the checkpoint of this size. The proof refers to that checkpoint or, if it is older
    than the row, shows that the log has grown from it, which requires reading the leaves in between. Raise NoProof.
    """
    kind = KINDS[kind_name]
    row = fetch_one(f"SELECT {kind.select} FROM {kind.table} WHERE {kind.key} = %s", [ref])  # noqa: S608 - of our own names
    leaf = Leaf.objects.filter(kind=kind_name, ref=ref).first()
    if row is None or leaf is None:
        raise NoProof(_why_not(kind_name, ref, row is not None, leaf))
    document = kind.document(row)
    kept = Checkpoint.objects.filter(size=size).order_by("id").first() if size is not None else None
    if size is not None and kept is None:
        raise NoProof(f"There is no checkpoint of {size} leaves.")
    checkpoint = kept if kept is not None and kept.size > leaf.number else _covering(leaf.number)
    path = _path(leaf.number, checkpoint)
    if root_from_path(leaf.number, checkpoint.size, leaf_hash(encode(document)), path) != bytes(checkpoint.root):
        raise NoProof(f"{kind_name.capitalize()} {ref} does not lead to the root that was signed: run verify_audit.")
    proof = _document((leaf.number, document), path, checkpoint.note)
    if kept is not None and kept.pk != checkpoint.pk and kept.size:
        nodes = known_nodes(Frontier(kept.size, kept.frontier), _hashes(kept.size, checkpoint.size))
        proof |= _growth(kept.size, checkpoint.size, nodes)
    return proof


def _covering(number: int) -> Checkpoint:
    found = Checkpoint.objects.filter(size__gt=number).order_by("size", "id").first()
    if found is None:
        raise NoProof(f"No checkpoint covers leaf {number}: run verify_audit.")
    return found


def _hashes(first: int, end: int) -> list[bytes]:
    leaves = Leaf.objects.filter(number__gte=first, number__lt=end).order_by("number")
    return [bytes(one) for one in leaves.values_list("hash", flat=True)]


def _path(index: int, checkpoint: Checkpoint) -> list[bytes]:
    """Build the path from the frontier of the checkpoint before the leaf, and the leaves after that checkpoint."""
    before = Checkpoint.objects.filter(size__lte=index).order_by("-size", "id").first()
    frontier = Frontier(before.size, before.frontier) if before else Frontier()
    try:
        return inclusion_proof(index, checkpoint.size, known_nodes(frontier, _hashes(frontier.size, checkpoint.size)))
    except Invalid as error:
        if Archive.objects.filter(end_leaf__gt=index).exists():
            raise NoProof(
                f"Leaf {index} was archived along with its neighbours: name its archive (--archive FILE)."
            ) from None
        raise NoProof(f"The log is incomplete ({error}): run verify_audit.") from None


def prove_from_archive(path: Path, kind_name: str, ref: int, *, size: int | None = None) -> dict[str, Any]:
    """Return the proof from an archive's file, in its first checkpoint over the row. Raise NoProof, Invalid.

    `size` as in `prove`.
    """
    first = 0
    frontier = Frontier()  # of the last checkpoint before the row, or of the one of `size` leaves if that is earlier
    leaves: list[bytes] = []
    found: tuple[int, dict[str, Any]] | None = None
    key = KINDS[kind_name].key
    for line in files.read(path):
        if "format" in line:
            first, frontier = line["first"], Frontier(line["first"], [bytes.fromhex(one) for one in line["frontier"]])
        elif "leaf" in line:
            number, document = line["number"], line["leaf"]
            if document["leaf"] == kind_name and document["row"][key] == ref:
                found = number, document
            if number >= frontier.size + len(leaves):
                leaves.append(leaf_hash(encode(document)))
        elif "checkpoint" in line:
            end = frontier.size + len(leaves)
            if found is None and frontier.size != size:
                frontier.extend(leaves)
                leaves = []
            elif found is not None and found[0] >= first and size in (None, frontier.size, end):
                nodes = known_nodes(frontier, leaves)
                proof = _document(found, inclusion_proof(found[0], end, nodes), line["note"])
                return proof | (_growth(frontier.size, end, nodes) if size == frontier.size else {})
    if found is None:
        raise NoProof(f"{kind_name.capitalize()} {ref} is not in {path}.")
    if found[0] < first:
        raise NoProof(
            f"{kind_name.capitalize()} {ref} was kept by an earlier archive: its proof is in that one's file."
        )
    raise NoProof(f"There is no checkpoint of {size} leaves in {path}.")


def _growth(first: int, second: int, nodes: Nodes) -> dict[str, Any]:
    return {"grown_from": first, "growth": [node.hex() for node in consistency_proof(first, second, nodes)]}


def _document(found: tuple[int, dict[str, Any]], path: list[bytes], note: str) -> dict[str, Any]:
    return {
        "format": PROOF_FORMAT,
        "leaf": found[1],
        "index": found[0],
        "path": [node.hex() for node in path],
        "checkpoint": note,
    }


def _why_not(kind_name: str, ref: int, there: bool, leaf: Leaf | None) -> str:
    if there:
        return f"{kind_name.capitalize()} {ref} is not sealed yet: the worker does that within a minute."
    if leaf is not None:
        return f"{kind_name.capitalize()} {ref} is sealed as leaf {leaf.number}, but missing: run verify_audit."
    return f"There is no {kind_name} {ref} here; if it was archived, name its archive (--archive FILE)."
