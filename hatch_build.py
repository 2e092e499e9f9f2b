"""Hooks of the build: the compiled reader, and links of the README that work anywhere.

The collector's reader is compiled where there is a compiler; without one the wheel is built all
the same, and the collector reads with its Python reader. `python hatch_build.py` compiles in place,
with Cython and setuptools at hand.
"""

import hashlib
import os
import runpy
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

ROOT = Path(__file__).resolve().parent
SOURCE = ROOT / "collector/tallyspan_collector/columns/_reader.pyx"
MODULE = "tallyspan_collector.columns._reader"


def compile_reader(folder: Path) -> Path:
    """Compile the reader into a folder, and return the module's file. Raises what goes wrong."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    with tempfile.TemporaryDirectory() as temporary:
        extension = Extension(
            MODULE,
            [str(SOURCE)],
            define_macros=[("READER_SOURCE", f'"{digest}"')],
            extra_compile_args=["-O2", "-g0"],
        )
        modules = cythonize([extension], build_dir=temporary, quiet=True)
        command = build_ext(Distribution({"ext_modules": modules}))
        command.build_temp = command.build_lib = temporary
        command.ensure_finalized()
        command.run()
        built = Path(command.get_ext_fullpath(MODULE))
        target = folder / f"_reader{sysconfig.get_config_var('EXT_SUFFIX')}"
        new = target.with_suffix(".new")
        new.write_bytes(built.read_bytes())
        new.replace(target)  # a running collector keeps the old one
    return target


class CustomMetadataHook(MetadataHookInterface):
    """Sets the README and the addresses of the project.

    GITHUB_REPOSITORY, which GitHub sets where it builds, is the repository that links lead to. What
    is built elsewhere names none, and keeps the README's links as they are.
    """

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add `readme` and `urls` to the metadata."""
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        metadata["urls"] = {}
        if repository := os.environ.get("GITHUB_REPOSITORY"):
            page = runpy.run_path(str(ROOT / "scripts/pypi_page.py"))
            text = page["with_absolute_links"](text, repository, metadata["version"])
            home = f"https://github.com/{repository}"
            tree = f"{home}/blob/v{metadata['version']}"
            metadata["urls"] = {
                "Changelog": f"{tree}/CHANGELOG.md",
                "Documentation": f"{home}/tree/v{metadata['version']}/docs",
                "Issues": f"{home}/issues",
                "Security": f"{home}/security/policy",
                "Source": home,
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


class CustomBuildHook(BuildHookInterface[Any]):
    """Puts the compiled reader into the wheel, or beside its source for an editable install."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; whatever goes wrong, the wheel is built, for any platform."""
        try:
            if version == "editable":
                compile_reader(SOURCE.parent)
                return
            self._folder = tempfile.TemporaryDirectory()
            module = compile_reader(Path(self._folder.name))
        except (Exception, SystemExit) as error:  # noqa: BLE001  no compiler, no headers, no Cython
            self.app.display_warning(f"built without the compiled reader: {error!r}")
            return
        build_data["force_include"][str(module)] = str(
            Path("tallyspan_collector/columns") / module.name
        )
        build_data["infer_tag"] = True
        build_data["pure_python"] = False


if __name__ == "__main__":
    print(compile_reader(SOURCE.parent), file=sys.stderr)  # noqa: T201  a command
