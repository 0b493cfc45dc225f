"""The seal over the evidence: a signed Merkle log, and everything that checks it. docs/audit.md says what it proves.

standalone    hashing, notes and proofs as a stranger checks them: one file, no Django, no database
merkle        the tree: growing it, inclusion and consistency proofs
canonical     a row of evidence -> the bytes that are hashed
notes, keys   signed checkpoints, and who signs them
sealer        gives every row a leaf, and signs
rotation      changing the key, and whose signature counts
anchor        the checkpoints outside the database
proofs        that one row is in the log
verify/       whether all of it still holds
"""
