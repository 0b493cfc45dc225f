"""The seal of the evidence: a signed Merkle log, and its verification. docs/audit.md explains what it proves.

standalone.py     hashing, notes and proofs for external verifiers: one file, no Django, no database
merkle.py         the tree: growth, inclusion and consistency proofs
canonical.py      a row of evidence -> the bytes that are hashed
signed_notes.py   signed checkpoints
keys.py           the keys that sign them, and the trust root
signer_lookup.py  the public key that signed a checkpoint, for readers over the web
sealer.py         adds leaves, signs checkpoints, and publishes them to the file and the log
horizon.py        up to which id every row is visible
rotation.py       key rotation, and the chain of trust
anchor.py         the file with the checkpoints, outside the database
proofs.py         proofs that one row is in the log
archive/          sealed rows in files outside the database
verify/           the verification of the whole log
"""
