"""The tree is RFC 6962's: its known vectors, and a naive reading of its definitions, agree."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts_audit.seal.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    known_nodes,
)
from alerts_audit.seal.standalone import Invalid, check_consistency, leaf_hash, node_hash, root_from_path

# The leaves and roots that the reference implementations of Certificate Transparency are tested with.
VECTORS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(bytes.fromhex(text)) for text in VECTORS]

sizes = st.integers(min_value=1, max_value=300)


def naive_root(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return node_hash(naive_root(leaves[:half]), naive_root(leaves[half:]))


def some_leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


def grown(leaves: list[bytes]) -> Frontier:
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier


def test_an_empty_tree_has_the_hash_of_nothing():
    assert Frontier().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_the_root_is_that_of_the_known_vectors(size):
    assert grown(LEAVES[:size]).root().hex() == ROOTS[size - 1]


def test_the_proofs_are_those_of_the_known_vectors():
    known = known_nodes(Frontier(), LEAVES)

    # RFC 6962, section 2.1.3: for seven leaves, of d0 [b, h, l], of d3 [c, g, l], of d4 [f, j, k], of d6 [i, k].
    b, f, j = LEAVES[1], LEAVES[5], LEAVES[6]
    g, h = node_hash(LEAVES[0], LEAVES[1]), node_hash(LEAVES[2], LEAVES[3])
    i = node_hash(LEAVES[4], LEAVES[5])
    k = node_hash(g, h)
    el = node_hash(i, j)
    assert inclusion_proof(0, 7, known) == [b, h, el]
    assert inclusion_proof(3, 7, known) == [LEAVES[2], g, el]
    assert inclusion_proof(4, 7, known) == [f, j, k]
    assert inclusion_proof(6, 7, known) == [i, k]
    # ... and from 3, 4 and 6 leaves to 7.
    assert consistency_proof(3, 7, known) == [LEAVES[2], LEAVES[3], g, el]
    assert consistency_proof(4, 7, known) == [el]
    assert consistency_proof(6, 7, known) == [i, j, k]


@given(sizes)
def test_a_tree_that_grows_leaf_by_leaf_has_the_root_of_the_definition(size):
    leaves = some_leaves(size)

    assert grown(leaves).root() == naive_root(leaves)


@given(sizes, st.data())
def test_every_inclusion_proof_leads_to_the_root(size, data):
    leaves = some_leaves(size)
    index = data.draw(st.integers(0, size - 1))
    before = data.draw(st.integers(0, index))  # all that the prover knows of what lies before is a frontier

    path = inclusion_proof(index, size, known_nodes(grown(leaves[:before]), leaves[before:]))

    assert root_from_path(index, size, leaves[index], path) == naive_root(leaves)


@given(st.integers(2, 200), st.data())
def test_an_inclusion_proof_leads_nowhere_else(size, data):
    leaves = some_leaves(size)
    index, other = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    path = inclusion_proof(index, size, known_nodes(Frontier(), leaves))

    with pytest.raises(Invalid):  # noqa: PT012 (either it cannot be such a proof, or it leads to another root)
        if root_from_path(other, size, leaves[index], path) != naive_root(leaves):
            raise Invalid
    with pytest.raises(Invalid):  # noqa: PT012
        if root_from_path(index, size, leaves[other], path) != naive_root(leaves):
            raise Invalid


@given(sizes, st.data())
def test_every_consistency_proof_holds(size, data):
    leaves = some_leaves(size)
    first = data.draw(st.integers(1, size))
    before = data.draw(st.integers(0, first))

    path = consistency_proof(first, size, known_nodes(grown(leaves[:before]), leaves[before:]))

    check_consistency(first, size, naive_root(leaves[:first]), naive_root(leaves), path)


@given(st.integers(2, 200), st.data())
def test_no_consistency_proof_holds_for_another_history(size, data):
    leaves = some_leaves(size)
    first = data.draw(st.integers(1, size - 1))
    path = consistency_proof(first, size, known_nodes(Frontier(), leaves))
    changed = data.draw(st.integers(0, first - 1))
    other = [*leaves[:changed], leaf_hash(b"other"), *leaves[changed + 1 :]]

    with pytest.raises(Invalid):
        check_consistency(first, size, naive_root(other[:first]), naive_root(leaves), path)
    with pytest.raises(Invalid):
        check_consistency(first, size, naive_root(leaves[:first]), naive_root(other), path)


@pytest.mark.parametrize("change", [lambda path: path[:-1], lambda path: [*path, path[0]]], ids=["short", "long"])
def test_a_proof_of_another_length_is_refused(change):
    path = inclusion_proof(3, 7, known_nodes(Frontier(), LEAVES))

    with pytest.raises(Invalid, match="too"):
        root_from_path(3, 7, LEAVES[3], change(path))


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_a_leaf_outside_of_the_tree_is_refused(index, size):
    with pytest.raises(Invalid):
        root_from_path(index, size, LEAVES[0], [])
    with pytest.raises(Invalid):
        inclusion_proof(index, size, {})


def test_a_frontier_of_another_size_is_refused():
    with pytest.raises(Invalid, match="complete subtrees"):
        Frontier(3, [LEAVES[0]])


def test_a_proof_from_too_little_is_refused():
    with pytest.raises(Invalid, match="leaf 4 is not known"):
        inclusion_proof(0, 8, known_nodes(Frontier(), LEAVES[:4]))
