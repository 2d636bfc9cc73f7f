"""The images themselves, as far as the pages show them."""

from results_page.reading import NotFoundError, Results, translated

SHOWN_IMAGES = 60  # of a variety
MAX_IMAGE = 10 * 2**20  # bytes
# Shown in the place of what a browser cannot show: an answer of 404 would be an error in its console.
NO_PICTURE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" font-family="sans-serif" font-size="12" text-anchor="middle">'
    b'<rect width="64" height="64" fill="#f1efe9"/><g fill="#55534e"><text x="32" y="29">no</text><text x="32" y="44">picture</text>'
    b"</g></svg>"
)
IMAGE_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif", b"RIFF": "image/webp"}


def image_keys(results: Results, label: str) -> list[str]:
    """Return the keys of the first images in a variety's folder.

    Raises:
        ResultsError: S3 does not answer.
    """
    prefix = f"{results.images_prefix}{label}/"
    with translated(f"s3://{results.images_bucket}/{prefix}"):
        found = results.client.list_objects_v2(Bucket=results.images_bucket, Prefix=prefix, MaxKeys=SHOWN_IMAGES)
    return [item["Key"] for item in found.get("Contents", [])]


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
