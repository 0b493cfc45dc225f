"""The promises of README, each with its figure and the file that holds the evidence, on one page.

`make prove` runs everything: `python -m loadtests.prove`.
"""
