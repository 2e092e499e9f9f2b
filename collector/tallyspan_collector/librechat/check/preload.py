"""The preload in LibreChat's own process: whether it is loaded, and which paths it counts."""

from tallyspan_collector.librechat.check.settings import Environment

FILE = "tallyspan-preload.cjs"
VARIABLE = "TALLYSPAN_PRELOAD"
LOAD = f"NODE_OPTIONS=--require /app/{FILE}"


def is_counted(env: Environment, path: str) -> bool:
    """Return whether the preload is loaded and counts this path."""
    paths = {each.strip() for each in env[VARIABLE].split(",")}
    return FILE in env["NODE_OPTIONS"] and (path in paths or "all" in paths)


def lines(env: Environment, path: str) -> str:
    """Return the lines that let it count this path too."""
    others = [each.strip() for each in env[VARIABLE].split(",") if each.strip()]
    setting = f"{VARIABLE}={','.join((*others, path))}"
    return setting if FILE in env["NODE_OPTIONS"] else f"{LOAD}\n{setting}"
