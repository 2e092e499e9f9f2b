"""Sub-commands of `tallyspan`, a module each: `add_parser` gives the command its parser."""
