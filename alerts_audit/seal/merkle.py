"""The Merkle tree of RFC 6962, section 2.1: a list of leaf hashes and one root.

`Frontier` is the state that is needed to grow a tree: the roots of its complete subtrees. Proofs are built from such a
frontier and the leaves after it, so they do not read the whole log.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from alerts_audit.seal.standalone import Invalid, node_hash

EMPTY_ROOT = hashlib.sha256().digest()

# (first leaf, end) -> root of that subtree.
Nodes = Mapping[tuple[int, int], bytes]


class Frontier:
    """The roots of a tree's complete subtrees, largest first: one per 1 in the binary form of its size."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes | memoryview] = ()) -> None:
        self.size = size
        self.hashes = [bytes(one) for one in hashes]
        if len(self.hashes) != size.bit_count():
            raise Invalid(f"a tree of {size} leaves has {size.bit_count()} complete subtrees, not {len(self.hashes)}")

    def append(self, leaf: bytes) -> None:
        self.hashes.append(leaf)
        self.size += 1
        # Two subtrees of the same size form one of twice that size, like a carry in an addition.
        for _ in range((self.size & -self.size).bit_length() - 1):
            right = self.hashes.pop()
            self.hashes[-1] = node_hash(self.hashes[-1], right)

    def extend(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        if not self.hashes:
            return EMPTY_ROOT
        found = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            found = node_hash(left, found)
        return found

    def copy(self) -> "Frontier":
        return Frontier(self.size, self.hashes)

    def nodes(self) -> dict[tuple[int, int], bytes]:
        """Return each subtree with its position."""
        found, start = {}, 0
        for one in self.hashes:
            end = start + (1 << ((self.size - start).bit_length() - 1))
            found[start, end] = one
            start = end
        return found


def known_nodes(frontier: Frontier, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """Return the known part of a tree: a frontier and the leaves after it."""
    known = frontier.nodes()
    known.update({(number, number + 1): leaf for number, leaf in enumerate(leaves, frontier.size)})
    return known


def split(start: int, end: int) -> int:
    """Return where the tree over these leaves is split: the left part is the largest complete subtree."""
    return start + (1 << ((end - start - 1).bit_length() - 1))


def range_root(start: int, end: int, known: Nodes) -> bytes:
    """Return the root over leaves `start` to `end`. Raise Invalid if the known nodes are not sufficient."""
    if (found := known.get((start, end))) is not None:
        return found
    if end - start == 1:
        raise Invalid(f"leaf {start} is not known")
    middle = split(start, end)
    return node_hash(range_root(start, middle, known), range_root(middle, end, known))


def inclusion_proof(index: int, size: int, known: Nodes) -> list[bytes]:
    """Return PATH(index, D[size]): the siblings from the leaf to the root."""
    if not 0 <= index < size:
        raise Invalid(f"leaf {index} is not among {size} leaves")
    path, start, end = [], 0, size
    while end - start > 1:
        middle = split(start, end)
        if index < middle:
            path.append(range_root(middle, end, known))
            end = middle
        else:
            path.append(range_root(start, middle, known))
            start = middle
    return path[::-1]


def consistency_proof(first: int, second: int, known: Nodes) -> list[bytes]:
    """Return PROOF(first, D[second]): the tree of `first` leaves is the beginning of the tree of `second` leaves."""
    if not 0 < first <= second:
        raise Invalid(f"there is no proof from {first} to {second} leaves")
    path, start, end = [], 0, second
    while first != end:
        middle = split(start, end)
        if first <= middle:
            path.append(range_root(middle, end, known))
            end = middle
        else:
            path.append(range_root(start, middle, known))
            start = middle
    if start:  # otherwise the proof begins with the old root itself
        path.append(range_root(start, end, known))
    return path[::-1]
