"""Put compiled modules into Spark's own archives of Python modules: dev/compile_archives.py ENVIRONMENT.

Spark's Python workers import pyspark from a ZIP file, where Python cannot keep what it compiles: most of a second for each
executor of each job.
"""

import importlib.util
import io
import marshal
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

NOT_TO_COMPARE = (1).to_bytes(4, "little")  # PEP 552: the hash of the source follows, which the reader need not look at


def compile_archive(archive: Path) -> int:
    """Add the compiled module of each source in `archive` that has none yet; return how many that were.

    Whoever has the archive open goes on with the old one.
    """
    added, content = 0, io.BytesIO()
    with ZipFile(archive) as before, ZipFile(content, "w", ZIP_DEFLATED) as after:
        names = set(before.namelist())
        for name in before.namelist():
            source = before.read(name)
            after.writestr(before.getinfo(name), source)
            if name.endswith(".py") and "/tests/" not in name and f"{name}c" not in names:
                after.writestr(f"{name}c", compiled(source, f"{archive}/{name}"))
                added += 1
    if added:
        new = archive.with_suffix(".new")
        new.write_bytes(content.getvalue())
        new.replace(archive)
    return added


def compiled(source: bytes, name: str) -> bytes:
    """Return the content of a module's .pyc file that counts whenever its source was changed."""
    code = compile(source, name, "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + NOT_TO_COMPARE + importlib.util.source_hash(source) + marshal.dumps(code)


def main(environment: str) -> None:
    """Compile the archives of the pyspark that is installed in `environment`."""
    for archive in Path(environment).glob("lib/python*/site-packages/pyspark/python/lib/*.zip"):
        print(f"{archive}: {compile_archive(archive)} modules compiled")


if __name__ == "__main__":
    main(*sys.argv[1:])
