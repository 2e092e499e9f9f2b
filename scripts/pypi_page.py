"""The README as the page of the project on PyPI."""

import re


def with_absolute_links(markdown: str, repository: str, version: str) -> str:
    """Return a page of this repository with links that work on another site.

    `repository` is OWNER/NAME on GitHub; links lead to the files of the tag of `version`.
    """
    image = rf"\g<1>https://raw.githubusercontent.com/{repository}/v{version}/"
    page = rf"\g<1>https://github.com/{repository}/blob/v{version}/"
    relative = r"(?!https?://|#)"
    markdown = re.sub(rf"(!\[[^\]]*\]\(){relative}", image, markdown)
    return re.sub(rf"((?<!!)\[[^\]]*\]\(){relative}", page, markdown)
