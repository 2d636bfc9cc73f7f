"""What can be set, with the reason for each default."""

import os
from dataclasses import dataclass

# Fruits-360, 12 varieties, the gallery of one rotation axis and the queries of the other: at 0.75 and 0.03 the first
# candidate is called sure for 78 % of the photographs and is right for 99.9 % of those. Of photographs of a variety that
# the gallery lacks, 15 to 29 % are called sure all the same: at 0.70 and no margin it would be 70 %.
MIN_SIMILARITY = 0.75
MIN_MARGIN = 0.03

EXACT_LIMIT = 100_000  # vectors: 512 MB, one query reads them all


@dataclass(frozen=True)
class Settings:
    """The settings of one server.

    Attributes:
        results: URI or path of the folder that holds `results/latest.json`: a bucket, a prefix in it, or a copy on a disk.
        min_similarity: cosine of the best match below which the answer is "not sure".
        min_margin: distance to the second variety below which it is "not sure" as well.
        max_bytes: of a photograph; phones write 3 to 12 MB.
        per_minute: photographs that one address may send in a minute.
        poll_seconds: how often `latest.json` is looked at.
        at_once: images decoded at the same time, photographs and the examples beside an answer; each may take 400 MB.
        wait_seconds: how long an image waits for its turn.
        upload_seconds: how long sending one may take.
        exact_limit: vectors up to which every one is compared; above, a graph is searched.
    """

    results: str
    min_similarity: float = MIN_SIMILARITY
    min_margin: float = MIN_MARGIN
    max_bytes: int = 20_000_000
    per_minute: int = 60
    poll_seconds: float = 30
    at_once: int = max(1, min(4, os.cpu_count() or 1))
    wait_seconds: float = 10
    upload_seconds: float = 60
    exact_limit: int = EXACT_LIMIT
