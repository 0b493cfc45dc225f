from django.apps import AppConfig


class FintechConfig(AppConfig):
    name = "fintech"

    def start_web(self) -> None:
        """See fintech/wsgi.py."""
        from fintech.database.capacity import report_connections

        report_connections()
