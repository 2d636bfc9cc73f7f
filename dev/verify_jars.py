"""Compare a folder of jars with its list of SHA-256 sums: dev/verify_jars.py LIST FOLDER."""

import hashlib
import sys
from pathlib import Path


def main(listing: str, folder: str) -> None:
    """Exit with the difference unless `folder` holds exactly the jars of `listing`."""
    expected = {name: digest for digest, name in map(str.split, Path(listing).read_text().splitlines())}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in Path(folder).glob("*.jar")}
    if expected != found:
        wrong = sorted(dict(expected.items() ^ found.items()))
        sys.exit(f"missing, unexpected or altered: {', '.join(wrong)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
