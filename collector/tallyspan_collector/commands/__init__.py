"""Subcommands of `tallyspan`, one in a module; `add_parser` adds its parser."""
