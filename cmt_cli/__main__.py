"""`python -m cmt_cli`, the same as the command `cmt`."""

from cmt_cli.commands.app import main

main()
