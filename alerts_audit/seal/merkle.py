"""The tree of RFC 6962, section 2.1: a list of leaf hashes, one root.

`Frontier` is all that must be kept of a tree to let it grow: the roots of its complete subtrees. Proofs are made
from such a frontier and the leaves after it, so that none of them has to read the whole log.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from alerts_audit.seal.standalone import Invalid, node_hash

EMPTY_ROOT = hashlib.sha256().digest()

# (first leaf, end) -> the root of that part.
Nodes = Mapping[tuple[int, int], bytes]


class Frontier:
    """The roots of a tree's complete subtrees, largest first: one for each 1 in the binary form of its size."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes | memoryview] = ()) -> None:
        self.size = size
        self.hashes = [bytes(one) for one in hashes]
        if len(self.hashes) != size.bit_count():
            raise Invalid(f"a tree of {size} leaves has {size.bit_count()} complete subtrees, not {len(self.hashes)}")

    def append(self, leaf: bytes) -> None:
        self.hashes.append(leaf)
        self.size += 1
        # Two subtrees of the same size are one of twice that size, as a carry runs through a sum.
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
        """Where each subtree lies."""
        found, start = {}, 0
        for one in self.hashes:
            end = start + (1 << ((self.size - start).bit_length() - 1))
            found[start, end] = one
            start = end
        return found


def known_nodes(frontier: Frontier, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """What is known of a tree: a frontier, and the leaves after it."""
    known = frontier.nodes()
    known.update({(number, number + 1): leaf for number, leaf in enumerate(leaves, frontier.size)})
    return known


def split(start: int, end: int) -> int:
    """Where the tree over these leaves is cut in two: the left part is the largest complete one."""
    return start + (1 << ((end - start - 1).bit_length() - 1))


def range_root(start: int, end: int, known: Nodes) -> bytes:
    """The root over leaves `start` to `end`. Raises Invalid where too little is known."""
    if (found := known.get((start, end))) is not None:
        return found
    if end - start == 1:
        raise Invalid(f"leaf {start} is not known")
    middle = split(start, end)
    return node_hash(range_root(start, middle, known), range_root(middle, end, known))


def inclusion_proof(index: int, size: int, known: Nodes) -> list[bytes]:
    """PATH(index, D[size]): the siblings on the way up, lowest first."""
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
    """PROOF(first, D[second]): that the tree of `first` leaves is the beginning of the one of `second`."""
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
    if start:  # else the old root itself is where the proof begins
        path.append(range_root(start, end, known))
    return path[::-1]
