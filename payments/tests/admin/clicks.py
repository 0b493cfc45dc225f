"""Several clicks on one button at the same moment."""

from collections.abc import Callable
from threading import Thread

from django.db import connection
from django.test import Client


def click_three_times(client: Client, click: Callable[[Client], str]) -> list[str]:
    """Return the texts of the three answers. Each click has a client of its own in the session of `client`."""
    answers: list[str] = []

    def run() -> None:
        try:
            mine = Client()
            mine.cookies = client.cookies
            answers.append(click(mine))
        finally:
            connection.close()

    clicks = [Thread(target=run) for _ in range(3)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    return answers
