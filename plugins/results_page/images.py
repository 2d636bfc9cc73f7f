"""The images themselves, as far as the pages show them."""

from results_page.ranges import RemoteFile
from results_page.reading import NotFoundError, Results, translated

SHOWN_IMAGES = 60  # of a variety
MOST_GROUPS = 64  # of an inventory, two requests each: a million images
MAX_IMAGE = 10 * 2**20  # bytes
# Shown in the place of what a browser cannot show: an answer of 404 would be an error in its console.
NO_PICTURE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" font-family="sans-serif" font-size="12" text-anchor="middle">'
    b'<rect width="64" height="64" fill="#f1efe9"/><g fill="#55534e"><text x="32" y="29">no</text><text x="32" y="44">picture</text>'
    b"</g></svg>"
)
IMAGE_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif", b"RIFF": "image/webp"}


def image_keys(results: Results, run: str, label: str) -> list[str]:
    """Return the keys of the first images of a variety, by the run's inventory: their folder may lie in other folders.

    Where the run has none any more, those directly in the variety's folder.

    Raises:
        ResultsError: S3 does not answer.
    """
    for name in (f"results/run={run}/inventory.parquet", f"runs/{run}/inventory/inventory.parquet"):
        try:
            with translated(f"s3://{results.bucket}/{results.prefix}{name}"):
                paths = _paths(RemoteFile(results.client, results.bucket, f"{results.prefix}{name}"), label)
        except NotFoundError:
            continue
        start = f"s3://{results.images_bucket}/"
        return [path.removeprefix(start) for path in paths if path.startswith(f"{start}{results.images_prefix}")]
    prefix = f"{results.images_prefix}{label}/"
    with translated(f"s3://{results.images_bucket}/{prefix}"):
        found = results.client.list_objects_v2(Bucket=results.images_bucket, Prefix=prefix, MaxKeys=SHOWN_IMAGES)
    return [item["Key"] for item in found.get("Contents", [])]


def _paths(inventory: RemoteFile, label: str) -> list[str]:
    """Return the first paths of a variety; of a file that is no inventory none."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    found: list[str] = []
    try:
        file = parquet.ParquetFile(inventory)
        column, looked_at = file.schema_arrow.get_field_index("label"), 0
        for number in range(file.num_row_groups):
            known = file.metadata.row_group(number).column(column).statistics
            if known and known.has_min_max and not known.min <= label <= known.max:
                continue
            rows = file.read_row_group(number, ["path", "label"])
            found += rows.filter(pc.equal(rows["label"], label))["path"].to_pylist()
            looked_at += 1
            if len(found) >= SHOWN_IMAGES or looked_at == MOST_GROUPS:
                break
    except (OSError, pa.ArrowException, LookupError):
        return []
    return found[:SHOWN_IMAGES]


def read_image(results: Results, key: str) -> tuple[bytes, str]:
    """Return an image and its type, by its first bytes: neither its name nor its metadata is to be trusted.

    Returns `NO_PICTURE` if it is none that browsers show, or is too large.

    Raises:
        NotFoundError: it does not exist, or lies outside the images' prefix.
        ResultsError: S3 does not answer.
    """
    where = f"s3://{results.images_bucket}/{key}"
    if not key.startswith(results.images_prefix):
        raise NotFoundError(f"{where} is none of the images")
    with translated(where):
        found = results.client.get_object(Bucket=results.images_bucket, Key=key)
        content = b"" if found["ContentLength"] > MAX_IMAGE else bytes(found["Body"].read())
    for start, kind in IMAGE_TYPES.items():
        if content.startswith(start):
            return content, kind
    return NO_PICTURE, "image/svg+xml"
