"""Begin and end the faults that `loadtests/drill/faults.py` lists, each by the part of the platform that suffers."""
