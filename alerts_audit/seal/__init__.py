"""The seal of the evidence: a signed Merkle log, and its verification. docs/audit.md explains what it proves.

standalone    hashing, notes and proofs for external verifiers: one file, no Django, no database
merkle        the tree: growth, inclusion and consistency proofs
canonical     a row of evidence -> the bytes that are hashed
notes, keys   signed checkpoints, and their keys
sealer        adds leaves and signs checkpoints
rotation      key rotation, and the chain of trust
anchor        the checkpoints outside the database
proofs        proofs that one row is in the log
verify/       the verification of the whole log
"""
