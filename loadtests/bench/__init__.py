"""`make bench`: how fast payments are, beside what others would build, in one interleaved run on one machine."""
