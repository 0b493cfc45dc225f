"""The seal of the evidence: a signed Merkle log, and its verification. docs/audit.md explains what it proves.

standalone    hashing, notes and proofs for external verifiers: one file, no Django, no database
merkle        the tree: growth, inclusion and consistency proofs
canonical     a row of evidence -> the bytes that are hashed
signed_notes  signed checkpoints
keys          the keys that sign them, and the trust root
sealer        adds leaves and signs checkpoints
horizon       up to which id every row is visible
rotation      key rotation, and the chain of trust
anchor        the checkpoints outside the database
proofs        proofs that one row is in the log
verify/       the verification of the whole log
"""
