"""Read what is needed of a scrape: the parser takes most of the time, and a host exports over a thousand samples."""

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def read_samples(text: str, names: tuple[str, ...]) -> list[Sample]:
    """Return the samples whose names begin with one of `names`. Raise ValueError if the text is no metrics at all."""
    lines = [line for line in text.split("\n") if line.startswith(names)]
    families = text_string_to_metric_families("\n".join(lines) if lines else text)
    return [sample for family in families for sample in family.samples if sample.name.startswith(names)]
