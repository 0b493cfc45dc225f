"""The faults of the drills: what each does, how it ends, and the alert that it must bring (catalogue.py)."""
