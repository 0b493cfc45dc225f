"""Plain words for texts that rows of the projection contain.

A rebuild must produce these rows unchanged, so they keep the words of the first release. Pages and the API show others.
"""

PLAIN = {
    "it began anew, and its end was not told": "it started again before its end was reported",
    "fires long after its end was told": "it fires long after its end was reported",
    "its end was told late": "its end was reported late",
    "no Alertmanager knows it any more, and nobody told its end": "no Alertmanager has it, and no end was reported",
    "nothing was heard of it any more": "no update arrived",
    "heard of again": "it is reported again",
    "one peer goes on saying that it fires": "one peer still reports that it fires",
}


def in_plain_words(note: str | None) -> str | None:
    for stored, plain in PLAIN.items():
        note = note and note.replace(stored, plain)
    return note
