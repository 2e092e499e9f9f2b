"""The software bill of materials of the collector's image: CycloneDX 1.5, as JSON on stdout.

    python scripts/sbom.py > sbom.json

Made of what the image is made of: the locked packages with their hashes, and the base image.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_PACKAGE = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,]+\])?==(\S+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bill(lock: str, dockerfile: str, version: str) -> dict[str, Any]:
    """Return the document, given the texts of the lock file and of the Dockerfile."""
    components = [
        _package(text) for text in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    ]
    for name, tag in re.findall(r"^FROM (\S+?):(\S+)", dockerfile, re.MULTILINE):
        components.append({"type": "container", "name": name, "version": tag})
    subject = {"type": "application", "name": "tallyspan", "version": version}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": subject},
        "components": components,
    }


def _package(text: str) -> dict[str, Any]:
    match = _PACKAGE.match(text)
    if match is None:
        raise SystemExit(f"deploy/requirements.txt: no locked version in {text.splitlines()[0]!r}")
    name, version = match.groups()
    hashes = [{"alg": "SHA-256", "content": each} for each in _HASH.findall(text)]
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "name": name, "version": version, "purl": purl, "hashes": hashes}


def main() -> None:
    """Print the document of this checkout."""
    package = (ROOT / "instrumentation/tallyspan/__init__.py").read_text()
    version = re.search(r'__version__ = "(.+?)"', package)
    json.dump(
        bill(
            (ROOT / "deploy/requirements.txt").read_text(),
            (ROOT / "Dockerfile").read_text(),
            version.group(1) if version else "",
        ),
        sys.stdout,
        indent=1,
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
